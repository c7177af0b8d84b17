//! Isolation levels and locks under interleaved sessions, as transcripts: the "hermitage" suite of anomalies, and row and advisory locks.
//!
//! `UPDATE_ISOLATION=1 cargo test -p meridian-tests --test isolation` writes the transcripts anew, with PostgreSQL 15's beside ours
//! where the two differ; reading the difference in review is the point of it.

use std::fmt::Write as _;
use std::path::Path;

use meridian_tests::differential::servers::{DATABASE, Meridian, Postgres, USER};
use meridian_tests::isolation::{LEVELS, parse, run};

#[test]
fn transcripts() -> anyhow::Result<()> {
    let update = std::env::var_os("UPDATE_ISOLATION").is_some();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("isolation");
    let mut specs: Vec<_> = std::fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|e| e.path()).collect();
    specs.retain(|p| p.extension().is_some_and(|e| e == "spec"));
    specs.sort();
    anyhow::ensure!(specs.len() >= 20, "the scripts are gone");
    let node = Meridian::start()?;
    let postgres = if update { Some(Postgres::start()?) } else { None };
    let mut differing = String::new();
    for path in specs {
        let spec = parse(&std::fs::read_to_string(&path)?)?;
        let mut text = String::new();
        for level in LEVELS {
            let ours = run(node.port, USER, DATABASE, &spec, level).map_err(|e| e.context(format!("{} at {level}", path.display())))?;
            write!(text, "== {level}\n{ours}")?;
            if let Some(postgres) = &postgres {
                let theirs = run(postgres.port, USER, DATABASE, &spec, level)?;
                if theirs != ours {
                    write!(text, "== {level}: PostgreSQL 15\n{theirs}")?;
                }
            }
        }
        let golden = path.with_extension("out");
        if update {
            std::fs::write(&golden, text)?;
            continue;
        }
        let expected = without_postgres(&std::fs::read_to_string(&golden)?);
        if expected != text {
            write!(differing, "--- {}: expected\n{expected}--- now\n{text}", golden.display())?;
        }
    }
    anyhow::ensure!(differing.is_empty(), "{differing}");
    Ok(())
}

/// A golden file without the sections that only tell of PostgreSQL.
fn without_postgres(text: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.starts_with("== ") {
            skipping = line.ends_with("PostgreSQL 15");
        }
        if !skipping {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
