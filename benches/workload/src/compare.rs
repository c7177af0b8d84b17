//! The figures of `scripts/bench-compare`, one JSON object a line, as one Markdown table and as bars.
//!
//! ```text
//!   sample    one run of one work on one side: postgresql, serializable (the same server at that level), meridian
//!   mark      the ratio that a work should reach, against each of PostgreSQL's levels; 0: none
//!   failure   what did not run, and what it said: it stands below the table, never left out
//!   note      the machine, the settings, the proofs
//! ```
//! A side's figure is the median of its samples. Ratios are ours to PostgreSQL's of the same comparison, turned over where less is better, so that
//! more than 1 is always in our favour.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::svg::{Bar, bars};

/// A line, with the fields of all kinds. (An enum told apart by a tag would not read numbers where another crate of the build has `serde_json` keep
/// them as text.)
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    kind: Kind,
    setup: String,
    work: String,
    unit: String,
    side: Side,
    value: f64,
    retries: f64,
    failed: f64,
    better: Better,
    mark: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Sample,
    Mark,
    Failure,
    Note,
    /// A line that does not say what it is.
    #[default]
    #[serde(skip)]
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Side {
    #[default]
    Postgresql,
    Serializable,
    Meridian,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Better {
    #[default]
    Higher,
    Lower,
    /// Neither: a figure to be looked at, without a ratio.
    None,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Postgresql => "PostgreSQL",
            Side::Serializable => "PG serializable",
            Side::Meridian => "Meridian",
        }
    }
}

/// What one side did at one work.
#[derive(Debug, Default)]
struct Figures {
    values: Vec<f64>,
    retries: f64,
    failed: f64,
}

/// A row of the table.
#[derive(Debug)]
struct Work {
    setup: String,
    name: String,
    unit: String,
    better: Better,
    sides: BTreeMap<Side, Figures>,
    marks: BTreeMap<Side, f64>,
}

impl Work {
    fn median(&self, side: Side) -> Option<f64> {
        self.sides.get(&side).and_then(|figures| median(&figures.values))
    }

    /// Ours to one of PostgreSQL's; more than 1 is in our favour.
    fn ratio(&self, side: Side) -> Option<f64> {
        let (theirs, ours) = (self.median(side)?, self.median(Side::Meridian)?);
        // A difference (of memory) may come out as nothing or less: no ratio then.
        if theirs <= 0.0 || ours <= 0.0 {
            return None;
        }
        match self.better {
            Better::Higher => Some(ours / theirs),
            Better::Lower => Some(theirs / ours),
            Better::None => None,
        }
    }

    /// The ratio, and how it stands to its mark.
    fn verdict(&self, side: Side) -> String {
        let Some(ratio) = self.ratio(side) else { return String::new() };
        match self.marks.get(&side) {
            Some(mark) if *mark > 0.0 && ratio >= *mark => format!("**{ratio:.2}** (≥ {mark}: reached)"),
            Some(mark) if *mark > 0.0 => format!("**{ratio:.2}** (≥ {mark}: missed)"),
            _ => format!("**{ratio:.2}**"),
        }
    }

    /// Retries and failures of each side that had any.
    fn troubles(&self) -> String {
        let part = |(side, figures): (&Side, &Figures)| {
            (figures.retries + figures.failed > 0.0).then(|| format!("{} {} / {}", side.name(), figures.retries, figures.failed))
        };
        self.sides.iter().filter_map(part).collect::<Vec<_>>().join(", ")
    }
}

/// The middle one; the mean of the two in the middle of an even number.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A comparison, read.
#[derive(Debug, Default)]
pub struct Comparison {
    works: Vec<Work>,
    failures: Vec<String>,
    notes: Vec<String>,
}

impl Comparison {
    /// Reads what the script wrote. A line that is not understood is an error, with its number.
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Comparison::default();
        let mut marks = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
            match line.kind {
                Kind::Sample => all.sample(line),
                Kind::Mark => marks.push((line.setup, line.work, line.side, line.mark)),
                Kind::Failure => all.failures.push(format!("{}, {}, {}: {}", line.setup, line.work, line.side.name(), line.text)),
                Kind::Note => all.notes.push(line.text),
                Kind::Unknown => bail!("line {} does not say what it is", number + 1),
            }
        }
        for (setup, name, side, mark) in marks {
            if let Some(work) = all.works.iter_mut().find(|w| w.setup == setup && w.name == name) {
                work.marks.insert(side, mark);
            }
        }
        Ok(all)
    }

    fn sample(&mut self, line: Line) {
        let at = self.works.iter().position(|w| w.setup == line.setup && w.name == line.work).unwrap_or_else(|| {
            let Line { setup, work, unit, better, .. } = line;
            self.works.push(Work { setup, name: work, unit, better, sides: BTreeMap::new(), marks: BTreeMap::new() });
            self.works.len() - 1
        });
        let figures = self.works[at].sides.entry(line.side).or_default();
        figures.values.push(line.value);
        figures.retries += line.retries;
        figures.failed += line.failed;
    }

    /// The table, what failed, and how it was measured.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| servers | work | unit | PostgreSQL | PG serializable | Meridian | ratio | ratio to serializable | retries / failed |\n\
             |---|---|---|---:|---:|---:|---:|---:|---|\n",
        );
        for work in &self.works {
            let figure = |side| work.median(side).map_or_else(String::new, number);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                work.setup,
                work.name,
                work.unit,
                figure(Side::Postgresql),
                figure(Side::Serializable),
                figure(Side::Meridian),
                work.verdict(Side::Postgresql),
                work.verdict(Side::Serializable),
                work.troubles()
            );
        }
        out += "\nRatios are Meridian (always SERIALIZABLE and strict) to PostgreSQL; more than 1 is in Meridian's favour, also where less is better (memory).\n";
        if !self.failures.is_empty() {
            out += "\nWhat failed:\n\n";
            for failure in &self.failures {
                let _ = writeln!(out, "* {failure}");
            }
        }
        out += "\nHow it was measured:\n\n";
        for note in &self.notes {
            let _ = writeln!(out, "* {note}");
        }
        out
    }

    /// The ratios as bars.
    pub fn svg(&self) -> String {
        let mut all = Vec::new();
        for work in &self.works {
            for (colour, side) in [Side::Postgresql, Side::Serializable].into_iter().enumerate() {
                if let Some(ratio) = work.ratio(side) {
                    all.push(Bar { name: format!("{} · {}", work.name, work.setup), ratio, colour });
                }
            }
        }
        bars("Meridian to PostgreSQL 15, same cores", &all, &["to its default level", "to serializable"])
    }
}

/// For reading: thousands apart, digits after the point only for small ones.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(work: &str, side: &str, value: f64, better: &str, retries: u32) -> String {
        format!(
            "{{\"kind\":\"sample\",\"setup\":\"one\",\"work\":\"{work}\",\"unit\":\"tps\",\"side\":\"{side}\",\"value\":{value},\"retries\":{retries},\"failed\":0,\"better\":\"{better}\"}}\n"
        )
    }

    #[test]
    fn medians_ratios_and_marks_come_out_of_the_samples() -> Result<()> {
        let mut text = String::new();
        for value in [100.0, 9.0, 120.0] {
            text += &sample("tpc-b", "postgresql", value, "higher", 0);
            text += &sample("tpc-b", "serializable", value / 10.0, "higher", 7);
            text += &sample("tpc-b", "meridian", value * 0.9, "higher", 0);
        }
        text += &sample("memory", "postgresql", 400.0, "lower", 0);
        text += &sample("memory", "meridian", 100.0, "lower", 0);
        text += &sample("shrunk", "postgresql", 400.0, "lower", 0);
        text += &sample("shrunk", "meridian", -1.0, "lower", 0);
        text += &sample("syncs", "postgresql", 1.0, "none", 0);
        text += &sample("syncs", "meridian", 1.0, "none", 0);
        text += "{\"kind\":\"mark\",\"setup\":\"one\",\"work\":\"tpc-b\",\"side\":\"postgresql\",\"mark\":1.0}\n";
        text += "{\"kind\":\"mark\",\"setup\":\"one\",\"work\":\"tpc-b\",\"side\":\"serializable\",\"mark\":5}\n";
        text += "{\"kind\":\"failure\",\"setup\":\"one\",\"work\":\"join\",\"side\":\"meridian\",\"text\":\"no\"}\n";
        let all = Comparison::parse(&text)?;
        let table = all.markdown();
        assert!(
            table.contains(
                "| one | tpc-b | tps | 100 | 10.00 | 90.00 | **0.90** (≥ 1: missed) | **9.00** (≥ 5: reached) | PG serializable 21 / 0 |"
            ),
            "{table}"
        );
        assert!(table.contains("| 400 |  | 100 | **4.00** |"), "{table}");
        assert!(table.contains("| one | shrunk | tps | 400 |  | -1.00 |  |  |  |"), "{table}");
        assert!(table.contains("| one | syncs | tps | 1.00 |  | 1.00 |  |  |  |"), "{table}");
        assert!(table.contains("* one, join, Meridian: no"), "{table}");
        assert_eq!(all.svg().matches("height=\"14\"").count(), 3);
        assert!(Comparison::parse("{\"kind\":\"guess\"}").is_err());
        assert_eq!((number(1_234_567.0), number(-123.4), median(&[1.0, 3.0])), ("1,234,567".into(), "-123".into(), Some(2.0)));
        Ok(())
    }
}
