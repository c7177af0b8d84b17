//! One HTML page, with plots drawn as SVG: throughput over time, latency distributions, and runs side by side. It needs no network to be looked at.

use std::fmt::Write as _;

use crate::frame::stats::DISTRIBUTION;
use crate::tpcc::run::Outcome;

const COLOURS: [&str; 6] = ["#2563eb", "#dc2626", "#16a34a", "#d97706", "#7c3aed", "#0891b2"];
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1f2937}\
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse;width:100%}td,th{padding:.3em .6em;text-align:right;\
border-bottom:1px solid #e5e7eb;font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}\
.key{display:inline-block;margin-right:1.5em}.key i{display:inline-block;width:1em;height:.35em;margin-right:.4em;vertical-align:middle}\
.bad{color:#b91c1c}.note{color:#6b7280}";

/// A line to draw.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The page of these runs; each comes with the name of its file.
pub fn page(runs: &[(String, Outcome)]) -> String {
    let mut out =
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>TPC-C</title><style>{STYLE}</style><h1>TPC-C</h1>");
    out += "<table><tr><th>run<th>server<th>warehouses<th>terminals<th>pace<th>tpmC<th>p50 ms<th>p99 ms<th>retries<th>errors</tr>";
    for (name, run) in runs {
        let kinds = &run.summary.kinds;
        let (retries, errors) = kinds.iter().fold((0, 0), |(r, e), k| (r + k.restarts(), e + k.failures()));
        let _ = write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td><b>{:.0}</b><td>{:.1}<td>{:.1}<td>{retries}<td{}>{errors}</tr>",
            escape(name),
            escape(&run.server),
            run.warehouses,
            run.connections,
            if run.paced { "paced" } else { "no wait" },
            run.tpmc,
            kinds[0].p50_ms,
            kinds[0].p99_ms,
            if errors > 0 { " class=bad" } else { "" },
        );
    }
    out += "</table><p class=note>Latencies of New-Order. tpmC: New-Order transactions per minute.</p><h2>New-Order per second</h2>";
    let over_time = runs.iter().map(|(name, run)| Series {
        name: name.clone(),
        // The last second is not whole.
        points: run.summary.per_second.iter().rev().skip(1).rev().enumerate().map(|(s, kinds)| (s as f64, f64::from(kinds[0]))).collect(),
    });
    out += &plot(&over_time.collect::<Vec<_>>(), "seconds", "per second", false);
    out += "<h2>Latency of New-Order</h2>";
    let latencies = runs.iter().map(|(name, run)| Series {
        name: name.clone(),
        points: DISTRIBUTION.iter().zip(&run.summary.kinds[0].distribution_ms).map(|(p, ms)| (*p, ms.max(0.01))).collect(),
    });
    out += &plot(&latencies.collect::<Vec<_>>(), "percentile", "ms", true);
    for (name, run) in runs {
        let _ = write!(out, "<h2>{}</h2><p class=note>{}</p>", escape(name), escape(&run.server));
        out += "<table><tr><th>transaction<th>count<th>/s<th>mean<th>p50<th>p90<th>p95<th>p99<th>max ms<th>retries<th>errors</tr>";
        for kind in &run.summary.kinds {
            let codes = |counts: &std::collections::BTreeMap<String, u64>| match counts.is_empty() {
                true => "0".to_owned(),
                false => counts.iter().map(|(code, n)| format!("{n} × {}", escape(code))).collect::<Vec<_>>().join(", "),
            };
            let _ = write!(
                out,
                "<tr><td>{}<td>{}<td>{:.1}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.2}<td>{:.1}<td>{}<td>{}</tr>",
                kind.name,
                kind.count,
                kind.rate,
                kind.mean_ms,
                kind.p50_ms,
                kind.p90_ms,
                kind.p95_ms,
                kind.p99_ms,
                kind.max_ms,
                codes(&kind.retries),
                codes(&kind.errors)
            );
        }
        out += "</table>";
        let kinds = run.summary.kinds.iter().map(|kind| Series {
            name: kind.name.clone(),
            points: DISTRIBUTION.iter().zip(&kind.distribution_ms).map(|(p, ms)| (*p, ms.max(0.01))).collect(),
        });
        out += &plot(&kinds.collect::<Vec<_>>(), "percentile", "ms", true);
    }
    out += "</html>";
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;

/// Lines over a common grid. `log`: the vertical axis is logarithmic.
fn plot(series: &[Series], across: &str, up: &str, log: bool) -> String {
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
