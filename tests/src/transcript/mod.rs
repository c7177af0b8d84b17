//! psql transcripts: a script is run by psql 15 against PostgreSQL 15 and against Meridian, and every step must print the same.
//!
//! ```text
//!   tests/psql/NAME.sql ──▶ steps ──▶ psql ──▶ PostgreSQL 15 ──▶ tests/psql/NAME.out      (kept; rewritten on request)
//!                             └─────▶ psql ──▶ Meridian ──▶ step by step against NAME.out, or against differences.txt
//! ```
//!
//! A step is one statement or backslash command. What psql prints for it (tables, notices, errors with SQLSTATE, DETAIL, HINT, CONTEXT and
//! the error's object names: `VERBOSITY verbose`) is compared as text. Two things are left out: `LOCATION`, which names PostgreSQL's source
//! files, and the `LINE`/caret pair, since error positions are no part of what is promised.
//!
//! Every script runs in a database of its own, on both sides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Stands between two steps in psql's output.
const MARK: &str = "=-=-= step ";

/// One statement or backslash command, with the COPY data that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What psql reads.
    pub input: String,
    /// The statement's own lines, which name the step.
    pub title: String,
}

/// What a step that differs prints here, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Why it may.
    pub reason: String,
    /// What Meridian prints.
    pub output: String,
}

/// Where scripts and transcripts stand.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("psql")
}

/// Cuts a script into steps. A statement ends at a line that ends in `;`; data of `COPY … FROM STDIN` ends at `\.`.
pub fn steps(script: &str) -> Vec<Step> {
    let mut steps = vec![];
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.starts_with("--") {
            continue;
        }
        let mut title = line.to_owned();
        if !line.starts_with('\\') {
            while !title.trim_end().ends_with(';') {
                let Some(more) = lines.next() else { break };
                title.push('\n');
                title.push_str(more);
            }
        }
        let mut input = format!("{title}\n");
        let upper = title.to_ascii_uppercase();
        if upper.starts_with("COPY") && upper.contains("FROM STDIN") && has_data(&mut lines.clone()) {
            for data in lines.by_ref() {
                input.push_str(data);
                input.push('\n');
                if data == "\\." {
                    break;
                }
            }
        }
        steps.push(Step { input, title });
    }
    steps
}

/// Whether COPY data follows: a script says so with `\.` before the next statement.
fn has_data<'a>(lines: &mut impl Iterator<Item = &'a str>) -> bool {
    lines.take_while(|l| !l.ends_with(';') && (!l.starts_with('\\') || *l == "\\.")).any(|l| l == "\\.")
}

/// Runs the steps in one psql session and gives what each printed.
pub fn run(port: u16, database: &str, steps: &[Step]) -> anyhow::Result<Vec<String>> {
    let mut script = String::from("\\set VERBOSITY verbose\n");
    for (at, step) in steps.iter().enumerate() {
        script.push_str(&format!("\\echo {MARK}{at}\n{}", step.input));
    }
    let input = tempfile::NamedTempFile::new()?;
    std::fs::write(input.path(), script)?;
    let output = tempfile::NamedTempFile::new()?;
    // One file for both streams: psql flushes the one before it writes to the other, so the order is kept.
    let status = Command::new("psql")
        .args(["-X", "-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "root", "-d", database])
        .env("PGTZ", "UTC")
        .env("LC_ALL", "C")
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::from(input.reopen()?))
        .stdout(append(output.path())?)
        .stderr(append(output.path())?)
        .status()
        .context("psql 15 is needed (package postgresql-client-15)")?;
    let text = String::from_utf8_lossy(&std::fs::read(output.path())?).into_owned();
    ensure!(status.success(), "psql ended with {status}: {text}");
    let mut printed = vec![String::new(); steps.len()];
    let mut current = None;
    let mut skip_caret = false;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix(MARK) {
            current = number.parse::<usize>().ok();
            continue;
        }
        if std::mem::take(&mut skip_caret) && line.trim() == "^" {
            continue;
        }
        if line.starts_with("LOCATION:") {
            continue;
        }
        if line.starts_with("LINE ") && line[5..].split(':').next().is_some_and(|n| n.parse::<u32>().is_ok()) {
            skip_caret = true;
            continue;
        }
        match current.and_then(|at: usize| printed.get_mut(at)) {
            Some(out) => {
                out.push_str(line);
                out.push('\n');
            }
            None => bail!("psql said before the first step: {line}"),
        }
    }
    Ok(printed)
}

fn append(path: &Path) -> anyhow::Result<Stdio> {
    Ok(std::fs::OpenOptions::new().append(true).open(path)?.into())
}

/// A transcript as it is kept: each step's lines after `>`, then what was printed.
pub fn write_transcript(steps: &[Step], printed: &[String]) -> String {
    let mut out = String::new();
    for (step, text) in steps.iter().zip(printed) {
        for line in step.title.lines() {
            out.push_str(&format!("> {line}\n"));
        }
        out.push_str(text);
    }
    out
}

/// Reads a transcript back, by the steps of its script.
pub fn read_transcript(steps: &[Step], transcript: &str) -> anyhow::Result<Vec<String>> {
    let mut rest = transcript;
    let mut printed = vec![];
    for (at, step) in steps.iter().enumerate() {
        let head: String = step.title.lines().map(|l| format!("> {l}\n")).collect();
        rest = rest.strip_prefix(&head).with_context(|| format!("the transcript lacks the step {}", step.title))?;
        let next: Option<String> = steps.get(at + 1).map(|s| s.title.lines().map(|l| format!("> {l}\n")).collect());
        let end = match next {
            // The next step's head at the beginning of a line.
            Some(next) if rest.starts_with(&next) => 0,
            Some(next) => rest.find(&format!("\n{next}")).map(|n| n + 1).with_context(|| format!("the transcript lacks {next}"))?,
            None => rest.len(),
        };
        printed.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    Ok(printed)
}

/// The listed differences, by script and step title; a step that occurs several times in a script has its number behind it (` #2`).
///
/// ```text
/// @ script | step
/// # why it differs
/// what Meridian prints
/// ```
pub fn differences() -> anyhow::Result<BTreeMap<String, Difference>> {
    let path = directory().join("differences.txt");
    let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
    let mut out: BTreeMap<String, Difference> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(key) = line.strip_prefix("@ ") {
            ensure!(!out.contains_key(key), "{key} is listed twice");
            out.insert(key.to_owned(), Difference::default());
            current = Some(key.to_owned());
        } else if let Some(difference) = current.as_ref().and_then(|key| out.get_mut(key)) {
            match line.strip_prefix("# ") {
                Some(reason) if difference.reason.is_empty() => difference.reason = reason.to_owned(),
                _ => {
                    difference.output.push_str(line);
                    difference.output.push('\n');
                }
            }
        }
    }
    for (key, difference) in &out {
        ensure!(!difference.reason.is_empty(), "{key} has no reason");
    }
    Ok(out)
}

/// The keys of a script's steps in the list of differences.
pub fn keys(script: &str, steps: &[Step]) -> Vec<String> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    steps
        .iter()
        .map(|step| {
            let count = seen.entry(&step.title).or_default();
            *count += 1;
            let title = step.title.replace('\n', " ");
            if *count == 1 { format!("{script} | {title}") } else { format!("{script} | {title} #{count}") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_into_steps_and_its_transcript_read_back() {
        let script = "-- words\nSELECT 1;\nCREATE TABLE t (\n  a int\n);\nCOPY t FROM STDIN;\n1\n\\.\nCOPY t (nope) FROM STDIN;\n\\d t\n";
        let cut = steps(script);
        let titles: Vec<&str> = cut.iter().map(|s| s.title.as_str()).collect();
        assert_eq!(titles, ["SELECT 1;", "CREATE TABLE t (\n  a int\n);", "COPY t FROM STDIN;", "COPY t (nope) FROM STDIN;", "\\d t"]);
        assert_eq!(cut[2].input, "COPY t FROM STDIN;\n1\n\\.\n");
        let printed: Vec<String> = ["one\n", "", "", "ERROR:  x\n", "table\n\n"].map(str::to_owned).to_vec();
        let kept = write_transcript(&cut, &printed);
        assert_eq!(read_transcript(&cut, &kept).unwrap(), printed);
    }
}
