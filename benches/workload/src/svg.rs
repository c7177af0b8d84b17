//! Plots as SVG, drawn without a library: lines over a grid, and bars of ratios.

use std::fmt::Write as _;

const COLOURS: [&str; 6] = ["#2563eb", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#0891b2"];

/// A line to draw.
pub struct Series {
    /// What the key calls it.
    pub name: String,
    /// Across and up.
    pub points: Vec<(f64, f64)>,
}

/// A bar to draw.
pub struct Bar {
    /// What stands on its left.
    pub name: String,
    /// How long it is; 1 is where the middle line is.
    pub ratio: f64,
    /// Its colour, by number.
    pub colour: usize,
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;

/// Lines over a common grid. `log`: the vertical axis is logarithmic.
pub fn plot(series: &[Series], across: &str, up: &str, log: bool) -> String {
    let all = || series.iter().flat_map(|s| &s.points);
    let x_max = all().map(|p| p.0).fold(1.0, f64::max);
    let scale = |y: f64| if log { y.log10() } else { y };
    let (low, high) = if log {
        let (min, max) = all().fold((f64::MAX, f64::MIN), |(a, b), p| (a.min(p.1), b.max(p.1)));
        (scale(min).floor().min(3.0), scale(max).ceil().max(-1.0))
    } else {
        (0.0, all().map(|p| p.1).fold(1.0, f64::max) * 1.05)
    };
    let (left, bottom, width, height) = (60.0, 30.0, WIDTH - 75.0, HEIGHT - 45.0);
    let x = |v: f64| left + v / x_max * width;
    let y = |v: f64| HEIGHT - bottom - (scale(v) - low) / (high - low).max(1e-9) * height;
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"12\" fill=\"#6b7280\">");
    let ticks: Vec<f64> = match log {
        true => (low as i32..=high as i32).map(|e| 10f64.powi(e)).collect(),
        false => (0..=4).map(|n| high * f64::from(n) / 4.0).collect(),
    };
    for tick in ticks {
        let at = y(tick);
        let text = if log && tick < 1.0 { format!("{tick}") } else { format!("{tick:.0}") };
        let _ = write!(
            out,
            "<path d=\"M{left} {at:.1}H{}\" stroke=\"#e5e7eb\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - 15.0,
            left - 6.0,
            at + 4.0
        );
    }
    for n in 0..=5 {
        let v = x_max * f64::from(n) / 5.0;
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{v:.0}</text>", x(v), HEIGHT - bottom + 16.0);
    }
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{across}</text><text x=\"6\" y=\"12\">{up}</text>",
        WIDTH - 15.0,
        HEIGHT - 2.0
    );
    for (n, line) in series.iter().enumerate() {
        let points: Vec<String> = line.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            points.join(" "),
            COLOURS[n % COLOURS.len()]
        );
    }
    out += "</svg><p>";
    for (n, line) in series.iter().enumerate() {
        let _ = write!(out, "<span class=key><i style=\"background:{}\"></i>{}</span>", COLOURS[n % COLOURS.len()], escape(&line.name));
    }
    out + "</p>"
}

/// Horizontal bars on a logarithmic axis from 1/32 to 32, with a line at 1: what is right of it is better. The whole of an SVG file; `key` names the
/// colours.
pub fn bars(title: &str, bars: &[Bar], key: &[&str]) -> String {
    const ROW: f64 = 22.0;
    const LEFT: f64 = 330.0;
    const TOP: f64 = 64.0;
    let height = TOP + ROW * bars.len() as f64 + 12.0;
    let width = WIDTH - LEFT - 60.0;
    let x = |ratio: f64| LEFT + (ratio.clamp(1.0 / 32.0, 32.0).log2() + 5.0) / 10.0 * width;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"#374151\">\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/><text x=\"8\" y=\"20\" font-size=\"15\">{}</text>",
        escape(title)
    );
    for (n, name) in key.iter().enumerate() {
        let at = LEFT + 230.0 * n as f64;
        let colour = COLOURS[n % COLOURS.len()];
        let _ = write!(
            out,
            "<rect x=\"{at}\" y=\"30\" width=\"12\" height=\"8\" fill=\"{colour}\"/><text x=\"{}\" y=\"38\">{}</text>",
            at + 18.0,
            escape(name)
        );
    }
    for power in -5..=5 {
        let ratio = 2f64.powi(power);
        let stroke = if power == 0 { "#374151" } else { "#e5e7eb" };
        let text = if power < 0 { format!("1/{}", 1 << -power) } else { format!("{ratio}") };
        let at = x(ratio);
        let _ = write!(
            out,
            "<path d=\"M{at:.1} {TOP}V{}\" stroke=\"{stroke}\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
            height - 8.0,
            TOP - 5.0
        );
    }
    for (n, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let (from, to) = (x(1.0).min(x(bar.ratio)), x(1.0).max(x(bar.ratio)));
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            LEFT - 8.0,
            y + 15.0,
            escape(&bar.name),
            y + 4.0,
            (to - from).max(1.0),
            COLOURS[bar.colour % COLOURS.len()],
            to + 5.0,
            y + 15.0,
            bar.ratio
        );
    }
    out + "</svg>\n"
}
