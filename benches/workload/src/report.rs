//! One HTML page, with plots drawn as SVG: throughput over time, latency distributions, and runs side by side. It needs no network to be looked at.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::frame::machine::ServerFigures;
use crate::frame::outcome::Outcome;
use crate::frame::stats::{DISTRIBUTION, KindSummary};
use crate::svg::{Series, Ticks, escape, plot};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1f2937}\
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse;width:100%}td,th{padding:.3em .6em;text-align:right;\
border-bottom:1px solid #e5e7eb;font-variant-numeric:tabular-nums}td:first-child,th:first-child,.text{text-align:left}td{vertical-align:top}th{white-space:nowrap}svg{width:100%;height:auto;margin-top:.8em}\
.key{display:inline-block;margin-right:1.5em}.key i{display:inline-block;width:1em;height:.35em;margin-right:.4em;vertical-align:middle}\
.bad{color:#b91c1c}.note{color:#6b7280}";

/// The page of these runs; each comes with the name of its file.
pub fn page(runs: &[(String, Outcome)]) -> String {
    let names: BTreeSet<&str> = runs.iter().map(|(_, run)| run.workload.as_str()).collect();
    let title = escape(&names.into_iter().collect::<Vec<_>>().join(", "));
    let mut out =
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>");
    out += "<table><tr><th>run<th class=text>server<th class=text>workload<th>sessions<th>tpmC<th>all/s<th>p50 ms<th>p99 ms<th>retries<th>errors</tr>";
    for (name, run) in runs {
        let kinds = &run.summary.kinds;
        let (retries, errors) = kinds.iter().fold((0, 0), |(r, e), k| (r + k.restarts(), e + k.failures()));
        let _ = write!(
            out,
            "<tr><td>{}<td class=text>{}<td class=text>{}, {}<td>{}<td><b>{}</b><td>{:.1}<td>{:.1}<td>{:.1}<td>{retries}<td{}>{errors}</tr>",
            escape(name),
            escape(&run.server),
            escape(&run.workload),
            escape(&run.settings),
            run.connections,
            run.tpmc.map_or_else(String::new, |tpmc| format!("{tpmc:.0}")),
            run.rate,
            kinds[0].p50_ms,
            kinds[0].p99_ms,
            if errors > 0 { " class=bad" } else { "" },
        );
    }
    // Of several workloads the kinds have no name in common.
    let firsts: BTreeSet<&str> = runs.iter().map(|(_, run)| run.summary.kinds[0].name.as_str()).collect();
    let first = escape(&firsts.into_iter().collect::<Vec<_>>().join(", "));
    let _ = write!(
        out,
        "</table><p class=note>Latencies are those of {first}. tpmC: New-Order transactions per minute.</p><h2>{first}, per second</h2>"
    );
    let over_time: Vec<Series> = runs.iter().map(|(name, run)| throughput(name, run)).collect();
    let seconds = over_time.iter().map(|s| s.points.len() as f64 - 1.0).fold(1.0, f64::max);
    out += &plot(&over_time, &Ticks::within(seconds), "seconds", "per second", false);
    let _ = write!(out, "<h2>{first}, latency</h2>");
    out += &latencies(runs.iter().map(|(name, run)| (name.as_str(), &run.summary.kinds[0])));
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
        out += &latencies(run.summary.kinds.iter().map(|kind| (kind.name.as_str(), kind)));
        out += &taken(run);
    }
    out += "</html>";
    out
}

/// Transactions of the first kind by second; the last second is not whole.
fn throughput(name: &str, run: &Outcome) -> Series {
    let seconds = run.summary.per_second.iter().rev().skip(1).rev();
    Series { name: name.to_owned(), points: seconds.enumerate().map(|(s, kinds)| (s as f64, f64::from(kinds[0]))).collect() }
}

/// CPU and disk of the servers that were watched.
fn taken(run: &Outcome) -> String {
    let plotted = |title: &str, up: &str, values: fn(&ServerFigures) -> &Vec<f64>| {
        let line = |server: &ServerFigures| Series {
            name: server.name.clone(),
            points: values(server).iter().enumerate().map(|(second, value)| (second as f64, *value)).collect(),
        };
        let series: Vec<Series> = run.servers.iter().map(line).collect();
        let seconds = series.iter().map(|s| s.points.len() as f64 - 1.0).fold(1.0, f64::max);
        format!("<p>{title}</p>{}", plot(&series, &Ticks::within(seconds), "seconds", up, false))
    };
    if run.servers.is_empty() {
        return String::new();
    }
    plotted("CPU of the servers, with all their processes", "% of a core", |s| &s.cpu_percent)
        + &plotted("Disk, read and written", "MiB per second", |s| &s.disk_mib)
}

/// Percentiles as far apart as they are listed: what matters is in the last ones.
fn latencies<'a>(kinds: impl Iterator<Item = (&'a str, &'a KindSummary)>) -> String {
    let series = kinds.map(|(name, kind)| Series {
        name: name.to_owned(),
        points: kind.distribution_ms.iter().enumerate().map(|(n, ms)| (n as f64, ms.max(0.01))).collect(),
    });
    plot(&series.collect::<Vec<_>>(), &Ticks::named(DISTRIBUTION.map(|p| p.to_string())), "percentile", "ms", true)
}
