//! psql run against Meridian prints what it prints against PostgreSQL 15: the `\d` family, DDL, constraints, transactions, prepared
//! statements, cursors, COPY. The scripts are `tests/psql/*.sql`.
//!
//! * `MERIDIAN_PSQL_REGENERATE=1` writes the `.out` files anew from a private PostgreSQL 15.
//! * `MERIDIAN_PSQL_SHOW=1` prints an entry for `differences.txt` for every step that differs and is not listed.

use meridian_tests::differential::servers::{Meridian, Postgres};
use meridian_tests::transcript::{self, Step};

fn scripts() -> anyhow::Result<Vec<(String, Vec<Step>)>> {
    let mut scripts = vec![];
    for entry in std::fs::read_dir(transcript::directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "sql") {
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            scripts.push((name, transcript::steps(&std::fs::read_to_string(&path)?)));
        }
    }
    scripts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(scripts)
}

/// Runs a script in a database of its own.
fn printed(port: u16, name: &str, steps: &[Step]) -> anyhow::Result<Vec<String>> {
    let make = |sql: String| Step { input: format!("{sql}\n"), title: sql };
    let database = format!("psql_{name}");
    transcript::run(port, "defaultdb", &[make(format!("CREATE DATABASE {database};"))])?;
    let printed = transcript::run(port, &database, steps);
    transcript::run(port, "defaultdb", &[make(format!("DROP DATABASE {database};"))])?;
    printed
}

#[test]
fn psql_prints_the_same() -> anyhow::Result<()> {
    let scripts = scripts()?;
    if std::env::var_os("MERIDIAN_PSQL_REGENERATE").is_some() {
        let postgres = Postgres::start()?;
        for (name, steps) in &scripts {
            let text = transcript::write_transcript(steps, &printed(postgres.port, name, steps)?);
            std::fs::write(transcript::directory().join(format!("{name}.out")), text)?;
        }
    }
    let mut listed = transcript::differences()?;
    let meridian = Meridian::start()?;
    let (mut same, mut excused, mut wrong) = (0, 0, vec![]);
    for (name, steps) in &scripts {
        let golden = std::fs::read_to_string(transcript::directory().join(format!("{name}.out")))?;
        let theirs = transcript::read_transcript(steps, &golden)?;
        let ours = printed(meridian.port, name, steps)?;
        for ((key, theirs), ours) in transcript::keys(name, steps).into_iter().zip(theirs).zip(ours) {
            match listed.remove(&key) {
                Some(difference) if difference.output == ours && ours != theirs => excused += 1,
                Some(_) if ours == theirs => wrong.push(format!("{key}\n  is listed as a difference and is none\n")),
                None if ours == theirs => same += 1,
                entry => {
                    if std::env::var_os("MERIDIAN_PSQL_SHOW").is_some() {
                        println!("@ {key}\n# {}\n{ours}", entry.map_or("why".into(), |d| d.reason));
                    }
                    wrong.push(format!("{key}\n--- PostgreSQL\n{theirs}--- Meridian\n{ours}"));
                }
            }
        }
    }
    wrong.extend(listed.keys().map(|key| format!("{key}\n  is listed as a difference and is no step\n")));
    println!("{same} steps print the same, {excused} differ as listed, {} differ otherwise", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
