//! Plots side by side with one key, as an SVG file of its own, which any viewer shows.

use std::fmt::Write as _;

use crate::svg::{Series, escape};

const COLOURS: [&str; 10] = ["#2563eb", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f", "#78350f", "#475569"];

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
