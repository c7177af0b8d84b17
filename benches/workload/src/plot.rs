//! Plots as SVG. [`lines`] is part of an HTML page; [`panels`] is a file of its own, which any viewer shows.

use std::fmt::Write as _;

const COLOURS: [&str; 10] = ["#2563eb", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#78350f", "#475569"];

/// A line to draw.
pub struct Series {
    /// What the key says.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// One of several plots over the same categories.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The points lie at the categories' numbers, from 0; values that are not above 0 are left out.
    pub series: Vec<Series>,
    /// A horizontal line and what it is.
    pub level: Option<(f64, String)>,
    /// A short mark across each category that has one.
    pub marks: Vec<Option<f64>>,
}

/// `text` as it stands in a document.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;

/// Lines over a common grid, for a page that is HTML: the key below is. `log`: the vertical axis is logarithmic.
pub fn lines(series: &[Series], across: &str, up: &str, log: bool) -> String {
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

const PANEL: f64 = 560.0;
const PANEL_HEIGHT: f64 = 460.0;
const KEY_LINE: f64 = 21.0;

/// Panels side by side with one logarithmic vertical axis and one key below. `mark`: what the marks mean. The points of the lines stand a little apart,
/// so that lines that coincide can be told.
pub fn panels(panels: &[Panel], categories: &[String], across: &str, up: &str, mark: &str) -> String {
    let values = || panels.iter().flat_map(|p| p.series.iter().flat_map(|s| s.points.iter().map(|p| p.1))).filter(|v| *v > 0.0);
    let (low, high) = values().fold((f64::MAX, 1.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
    let axis = Axis { low: low.min(1.0).log10().floor(), high: high.log10().ceil(), top: 50.0, bottom: PANEL_HEIGHT - 50.0 };
    let names = panels.first().map_or(0, |p| p.series.len());
    let rows = (names + 1).div_ceil(2);
    let (width, height) = (PANEL * panels.len() as f64, PANEL_HEIGHT + KEY_LINE * rows as f64 + 14.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui,sans-serif\" font-size=\"13\" \
         fill=\"#374151\"><rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (n, panel) in panels.iter().enumerate() {
        out += &one_panel(panel, categories, &axis, PANEL * n as f64, across, up);
    }
    for (n, series) in panels.first().map_or(&[][..], |p| &p.series).iter().enumerate() {
        let (x, y) = key_place(n, rows, width);
        let colour = COLOURS[n % COLOURS.len()];
        let _ = writeln!(
            out,
            "<path d=\"M{x} {y}h26\" stroke=\"{colour}\" stroke-width=\"2\"/><circle cx=\"{}\" cy=\"{y}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" \
             y=\"{}\">{}</text>",
            x + 13.0,
            x + 34.0,
            y + 4.5,
            escape(&series.name)
        );
    }
    let (x, y) = key_place(names, rows, width);
    let _ = writeln!(
        out,
        "<path d=\"M{x} {y}h26\" stroke=\"#9ca3af\" stroke-width=\"6\"/><text x=\"{}\" y=\"{}\">{}</text>\n</svg>",
        x + 34.0,
        y + 4.5,
        escape(mark)
    );
    out
}

/// Powers of ten from `top` to `bottom`.
struct Axis {
    low: f64,
    high: f64,
    top: f64,
    bottom: f64,
}

impl Axis {
    fn y(&self, value: f64) -> f64 {
        self.bottom - (value.log10() - self.low) / (self.high - self.low).max(1e-9) * (self.bottom - self.top)
    }
}

fn key_place(n: usize, rows: usize, width: f64) -> (f64, f64) {
    let (column, row) = (n / rows, n % rows);
    (60.0 + column as f64 * (width / 2.0), PANEL_HEIGHT + 10.0 + row as f64 * KEY_LINE)
}

fn one_panel(panel: &Panel, categories: &[String], axis: &Axis, from: f64, across: &str, up: &str) -> String {
    let (left, right) = (from + 62.0, from + PANEL - 20.0);
    let step = (right - left) / categories.len().max(1) as f64;
    let x = |category: f64| left + (category + 0.5) * step;
    let mut out = format!(
        "<text x=\"{left}\" y=\"22\" font-size=\"16\" font-weight=\"600\" fill=\"#111827\">{}</text><text x=\"{}\" y=\"42\" \
         text-anchor=\"start\">{up}</text>\n",
        escape(&panel.title),
        from + 10.0
    );
    for power in axis.low as i32..=axis.high as i32 {
        let value = 10f64.powi(power);
        let y = axis.y(value);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#e5e7eb\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            left - 8.0,
            y + 4.5
        );
    }
    for (n, category) in categories.iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(n as f64),
            axis.bottom + 20.0,
            escape(category)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(left, right),
        axis.bottom + 40.0,
        escape(across)
    );
    for (n, mark) in panel.marks.iter().enumerate() {
        if let Some(value) = mark.filter(|v| *v > 0.0) {
            let (at, y) = (x(n as f64), axis.y(value));
            let _ = writeln!(out, "<path d=\"M{:.1} {y:.1}h{:.1}\" stroke=\"#9ca3af\" stroke-width=\"6\"/>", at - step * 0.45, step * 0.9);
        }
    }
    if let Some((value, text)) = &panel.level {
        let y = axis.y(*value);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#111827\" stroke-width=\"1.5\" stroke-dasharray=\"7 5\"/>\n<text x=\"{right}\" y=\"42\" \
             text-anchor=\"end\">{}</text>",
            escape(&format!("- - -  {text}"))
        );
    }
    let count = panel.series.len().max(2);
    for (n, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let apart = (n as f64 / (count - 1) as f64 - 0.5) * 0.5;
        let points: Vec<(f64, f64)> = series.points.iter().filter(|p| p.1 > 0.0).map(|p| (x(p.0 + apart), axis.y(p.1))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>", path.join(" "));
        for (x, y) in points {
            let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
        }
        out.push('\n');
    }
    out
}
