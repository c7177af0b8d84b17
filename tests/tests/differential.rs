//! The differential test: `tests/differential/*.sql`, answered by PostgreSQL 15 and by a single Meridian node, must agree.
//!
//! Every statement is described first (column names, type OIDs, parameter types) and then run; rows, values, command tags,
//! SQLSTATEs, messages and the transaction state are compared. What may differ stands with its reason in
//! `tests/differential/KNOWN.txt`; a listed difference that is none any more fails the test too, so that the list stays true.
//!
//! `DIFFERENTIAL_ONLY=joins` runs one file, `DIFFERENTIAL_REPORT=path` writes all differences there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use meridian_tests::differential::client::{Answer, Client};
use meridian_tests::differential::compare::{Outcome, difference};
use meridian_tests::differential::corpus::{self, Statement};
use meridian_tests::differential::servers::{DATABASE, Meridian, Postgres, USER};

/// The count that issue 3 asks for.
const STATEMENTS_MIN: usize = 1_000;

#[derive(Default)]
struct Tally {
    statements: usize,
    equal: usize,
    listed: usize,
    failures: String,
    failed: usize,
}

#[test]
fn meridian_answers_as_postgresql_15() -> anyhow::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential");
    let mut known = corpus::known_differences(&directory.join("KNOWN.txt"))?;
    let only = std::env::var("DIFFERENTIAL_ONLY").ok();
    let postgres = Postgres::start()?;
    let meridian = Meridian::start()?;
    let mut tally = Tally::default();
    for file in files(&directory)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !only.split(',').any(|only| only == name)) {
            continue;
        }
        run_file(&file, &name, [postgres.port, meridian.port], &mut known, &mut tally)?;
    }
    println!("{} statements, {} equal, {} listed differences", tally.statements, tally.equal, tally.listed);
    if let Some(path) = std::env::var_os("DIFFERENTIAL_REPORT") {
        std::fs::write(path, &tally.failures)?;
    }
    ensure!(tally.failed == 0, "{} unlisted differences:\n{}", tally.failed, tally.failures);
    if only.is_none() {
        ensure!(known.is_empty(), "listed differences that no statement shows any more: {:#?}", known.keys());
        ensure!(tally.statements >= STATEMENTS_MIN, "only {} statements", tally.statements);
    }
    Ok(())
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs one scenario in a fresh database on both sides.
fn run_file(file: &Path, name: &str, ports: [u16; 2], known: &mut BTreeMap<String, String>, tally: &mut Tally) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let database = format!("d_{name}");
    for port in ports {
        let answer = Client::connect(port, USER, DATABASE)?.simple(&format!("CREATE DATABASE {database}"))?;
        ensure!(answer.error.is_none(), "creating {database} on port {port}: {:?}", answer.error);
    }
    let mut sides = ports.map(|port| Side { port, database: database.clone(), sessions: BTreeMap::new() });
    for statement in corpus::statements(&text) {
        tally.statements += 1;
        let report = step(&mut sides, &statement);
        match (report, known.remove(&statement.sql)) {
            (None, None) => tally.equal += 1,
            (Some(_), Some(_)) => tally.listed += 1,
            (None, Some(reason)) => {
                tally.failed += 1;
                tally.failures.push_str(&format!("{name}.sql:{}: listed, but equal ({reason})\n", statement.line));
            }
            (Some(report), None) => {
                tally.failed += 1;
                tally.failures.push_str(&format!("{name}.sql:{}: {}\n{report}", statement.line, statement.sql));
            }
        }
    }
    Ok(())
}

/// One server's sessions while a file runs.
struct Side {
    port: u16,
    database: String,
    sessions: BTreeMap<String, Client>,
}

impl Side {
    /// Describes and runs a statement; a lost session is opened anew for the next one.
    fn ask(&mut self, statement: &Statement) -> [Outcome; 2] {
        let described = self.exchange(statement, |client| client.describe(&statement.sql));
        let failed_in_transaction = matches!(&described, Ok(answer) if answer.error.is_some() && answer.state != b'I');
        if failed_in_transaction {
            return [described.clone(), described];
        }
        let answered = self.exchange(statement, |client| match &statement.parameters {
            Some(parameters) => client.extended(&statement.sql, parameters),
            None => client.simple(&statement.sql),
        });
        [described, answered]
    }

    fn exchange(&mut self, statement: &Statement, ask: impl FnOnce(&mut Client) -> std::io::Result<Answer>) -> Outcome {
        if !self.sessions.contains_key(&statement.session) {
            let client = Client::connect(self.port, USER, &self.database).map_err(|error| error.to_string())?;
            self.sessions.insert(statement.session.clone(), client);
        }
        let Some(client) = self.sessions.get_mut(&statement.session) else { return Err("no session".into()) };
        ask(client).map_err(|error| {
            self.sessions.remove(&statement.session);
            error.to_string()
        })
    }
}

/// Both servers' answers to one statement, compared: the description first, then the result.
fn step(sides: &mut [Side; 2], statement: &Statement) -> Option<String> {
    let [theirs, ours] = sides;
    let [their_description, their_answer] = theirs.ask(statement);
    let [our_description, our_answer] = ours.ask(statement);
    let ordered = corpus::is_ordered(&statement.sql);
    // One side may refuse at once what the other refuses when it plans or runs: the client of a simple query sees the same.
    let same_refusal = |early: &Outcome, late: &Outcome| match (early, late) {
        (Ok(early), Ok(late)) => early.error.is_some() && early.error == late.error,
        _ => false,
    };
    if same_refusal(&our_description, &their_answer) || same_refusal(&their_description, &our_answer) {
        return difference(&their_answer, &our_answer, ordered);
    }
    difference(&their_description, &our_description, true)
        .map(|report| format!("   when described:\n{report}"))
        .or_else(|| difference(&their_answer, &our_answer, ordered))
}
