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

/// Where numbers stand on an axis, and how they are written.
pub struct Ticks(Vec<(f64, String)>);

impl Ticks {
    /// These names, at 0, 1, 2, …
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        Ticks(names.into_iter().enumerate().map(|(n, name)| (n as f64, name)).collect())
    }

    /// Round numbers from 0 to `max` or a little above, four to eight of them.
    pub fn round(max: f64) -> Self {
        let power = 10f64.powf((max / 4.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|n| n * power).into_iter().rfind(|step| step * 4.0 <= max).unwrap_or(power);
        let count = (max / step).ceil() as usize;
        Ticks((0..=count).map(|n| n as f64 * step).map(|at| (at, format!("{}", (at * 1e6).round() / 1e6))).collect())
    }

    /// The same, without what lies above `max`.
    pub fn within(max: f64) -> Self {
        let mut ticks = Self::round(max);
        ticks.0.retain(|(at, _)| *at <= max);
        ticks
    }

    /// Powers of ten around `low` and `high`.
    fn powers(low: f64, high: f64) -> Self {
        Ticks((low.log10().floor() as i32..=high.log10().ceil() as i32).map(|e| (10f64.powi(e), format!("{}", 10f64.powi(e)))).collect())
    }

    fn ends(&self) -> (f64, f64) {
        (self.0.first().map_or(0.0, |t| t.0), self.0.last().map_or(1.0, |t| t.0))
    }
}

/// Lines over a common grid, with a key below. `log`: the vertical axis is logarithmic.
pub fn plot(series: &[Series], ticks: &Ticks, across: &str, up: &str, log: bool) -> String {
    let heights = || series.iter().flat_map(|s| &s.points).map(|p| p.1);
    let (low, high) = heights().fold((f64::MAX, 0.0), |(low, high): (f64, f64), y| (low.min(y), high.max(y)));
    let levels = if log { Ticks::powers(low.min(1.0), high.max(1.0)) } else { Ticks::round(high.max(1.0)) };
    let scale = |y: f64| if log { y.log10() } else { y };
    let (low, high) = (scale(levels.ends().0), scale(levels.ends().1));
    let (left, right, top, bottom) = (60.0, WIDTH - 15.0, 26.0, HEIGHT - 40.0);
    let (first, last) = ticks.ends();
    let last = series.iter().flat_map(|s| &s.points).map(|p| p.0).fold(last, f64::max);
    let x = |v: f64| left + (v - first) / (last - first).max(1e-9) * (right - left);
    let y = |v: f64| bottom - (scale(v) - low) / (high - low).max(1e-9) * (bottom - top);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"12\" fill=\"#6b7280\">");
    for (level, text) in &levels.0 {
        let at = y(*level);
        let _ = write!(
            out,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#e5e7eb\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for (tick, text) in &ticks.0 {
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", x(*tick), bottom + 17.0);
    }
    let _ =
        write!(out, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{across}</text><text x=\"0\" y=\"10\">{up}</text>", bottom + 34.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_that_cover_what_is_drawn() {
        let texts = |ticks: Ticks| ticks.0.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ");
        assert_eq!(texts(Ticks::round(316.0)), "0 50 100 150 200 250 300 350");
        assert_eq!(texts(Ticks::within(21.0)), "0 5 10 15 20");
        assert_eq!(texts(Ticks::round(1.0)), "0 0.25 0.5 0.75 1");
        assert_eq!(texts(Ticks::powers(0.03, 700.0)), "0.01 0.1 1 10 100 1000");
    }
}
