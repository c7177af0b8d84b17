//! The figures of several clusters as tables and as a plot.

use std::fmt::Write as _;

use super::Outcome;
use super::operations::Operation;
use crate::panels::{Panel, panels};
use crate::svg::Series;

/// Topologies in the order in which they came, each with its outcomes by ε.
fn by_topology(outcomes: &[Outcome]) -> Vec<(&str, Vec<&Outcome>)> {
    let mut all: Vec<(&str, Vec<&Outcome>)> = Vec::new();
    for outcome in outcomes {
        match all.iter_mut().find(|(name, _)| *name == outcome.topology) {
            Some((_, of)) => of.push(outcome),
            None => all.push((&outcome.topology, vec![outcome])),
        }
    }
    for (_, of) in &mut all {
        of.sort_by(|a, b| a.epsilon_ms.total_cmp(&b.epsilon_ms));
    }
    all
}

/// The round trip that a write waits for: as given, else what an insert takes where no clock is waited for.
fn round_trip(outcomes: &[&Outcome]) -> Option<(f64, &'static str)> {
    let first = outcomes.first()?;
    match first.round_trip_ms {
        Some(ms) => Some((ms, "replication round trip")),
        None => first.operations.first().filter(|_| first.epsilon_ms == 0.0).map(|f| (f.p50_ms, "replication (insert at ε = 0)")),
    }
}

/// Tables: latency by ε, and what of it were the reply rule and validation.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for (topology, of) in by_topology(outcomes) {
        let trip = round_trip(&of).map_or_else(String::new, |(ms, what)| format!("; {what} {ms:.1} ms"));
        let samples = of.iter().flat_map(|o| &o.operations).map(|f| f.samples);
        let (least, most) = (samples.clone().min().unwrap_or(0), samples.max().unwrap_or(0));
        let _ = writeln!(out, "### {topology}{trip}\n\nMedian / p99 in ms, {least} to {most} samples each.\n");
        table(&mut out, &of, |o, n| format!("{} / {}", short(o.operations[n].p50_ms), short(o.operations[n].p99_ms)));
        let _ = writeln!(out, "\nHeld back by the reply rule, and spent asking whether reads hold: mean ms an operation.\n");
        table(&mut out, &of, |o, n| {
            let f = &o.operations[n];
            let validation = f.validation_ms.filter(|_| f.validations.is_some_and(|n| n >= 0.01));
            let part = |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), short);
            format!("{} + {}", part(f.reply_wait_ms), part(validation))
        });
        out.push('\n');
    }
    let retries: u64 = outcomes.iter().flat_map(|o| &o.operations).map(|f| f.retries).sum();
    let _ = writeln!(out, "Serialization failures, run again and not timed: {retries}.");
    out
}

fn table(out: &mut String, of: &[&Outcome], cell: impl Fn(&Outcome, usize) -> String) {
    let head: Vec<String> = of.iter().map(|o| format!("ε = {} ms", o.epsilon_ms)).collect();
    let _ = writeln!(out, "| operation | {} |\n|---|{}", head.join(" | "), "---:|".repeat(of.len()));
    for (n, operation) in Operation::ALL.into_iter().enumerate() {
        let cells: Vec<String> = of.iter().map(|o| if n < o.operations.len() { cell(o, n) } else { String::new() }).collect();
        let _ = writeln!(out, "| {} | {} |", operation.name(), cells.join(" | "));
    }
}

fn short(ms: f64) -> String {
    if ms >= 9.95 { format!("{ms:.0}") } else { format!("{ms:.1}") }
}

/// One panel a topology: median latency by ε, one line an operation.
pub fn plot(outcomes: &[Outcome]) -> String {
    let by_topology = by_topology(outcomes);
    let mut epsilons: Vec<f64> = outcomes.iter().map(|o| o.epsilon_ms).collect();
    epsilons.sort_by(f64::total_cmp);
    epsilons.dedup();
    let place = |epsilon: f64| epsilons.iter().position(|e| *e == epsilon).unwrap_or(0) as f64;
    let all: Vec<Panel> = by_topology
        .iter()
        .map(|(topology, of)| Panel {
            title: (*topology).to_owned(),
            series: Operation::ALL
                .into_iter()
                .enumerate()
                .map(|(n, operation)| Series {
                    name: operation.name().into(),
                    points: of.iter().filter_map(|o| Some((place(o.epsilon_ms), o.operations.get(n)?.p50_ms))).collect(),
                })
                .collect(),
            level: round_trip(of).map(|(ms, what)| (ms, format!("{what}: {ms:.1} ms"))),
            marks: epsilons.iter().map(|e| Some(2.0 * e)).collect(),
        })
        .collect();
    let categories: Vec<String> = epsilons.iter().map(|e| format!("{e}")).collect();
    panels(&all, &categories, "clock error bound ε, ms", "median latency, ms", "2ε: how long after its start a timestamp is certainly past")
}

#[cfg(test)]
mod tests {
    use super::{Operation, Outcome, markdown, plot};
    use crate::cost::Figures;

    fn outcome(topology: &str, epsilon_ms: f64, round_trip_ms: Option<f64>) -> Outcome {
        let operations = Operation::ALL
            .into_iter()
            .enumerate()
            .map(|(n, operation)| Figures {
                name: operation.name().into(),
                samples: 100,
                retries: 0,
                p50_ms: 1.5 + n as f64,
                p99_ms: 30.4,
                reply_wait_ms: Some(0.3),
                validation_ms: Some(0.2),
                validations: Some(if n == 5 { 1.0 } else { 0.0 }),
            })
            .collect();
        Outcome { topology: topology.into(), epsilon_ms, round_trip_ms, server: "test".into(), gateway: 1, operations }
    }

    #[test]
    fn columns_are_epsilons_in_order_whatever_the_order_of_the_files() {
        let all = [outcome("a & b", 5.0, Some(30.0)), outcome("a & b", 0.0, Some(30.0)), outcome("local", 0.0, None)];
        let text = markdown(&all);
        assert!(text.contains("| operation | ε = 0 ms | ε = 5 ms |"), "{text}");
        assert!(text.contains("### local; replication (insert at ε = 0) 1.5 ms"), "{text}");
        assert!(text.contains("| insert of one row | 1.5 / 30 | 1.5 / 30 |") && text.contains("| 0.3 + 0.2 |"), "{text}");
        let svg = plot(&all);
        assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3 * Operation::ALL.len() + Operation::ALL.len(), "a point a figure, and the key");
    }
}
