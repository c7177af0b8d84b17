//! `meridian workload`, small, against one node: what is loaded runs without errors, a second load loads nothing, and a check finds planted damage.
//! The figures are not looked at; the exit codes and what was counted are.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use meridian_tests::differential::servers::Postgres;
use meridian_tests::process::{Scratch, Server, ServerOptions, binary, port};

/// Runs `meridian workload …` against this server.
fn workload(server: &Server, words: &[&str]) -> Result<Output> {
    workload_at(&server.url(), words)
}

fn workload_at(url: &str, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary());
    command.arg("workload").args(words).args(["--url", url]);
    command.output().with_context(|| format!("workload {words:?}"))
}

/// As [`workload`], and all must be well. Answers what was printed.
fn well(server: &Server, words: &[&str]) -> Result<String> {
    let output = workload(server, words)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "workload {words:?}:\n{out}\n{err}\n{}", server.log());
    Ok(out.into_owned())
}

/// A short run, whose figures as JSON are answered.
fn run(server: &Server, scratch: &Scratch, words: &[&str]) -> Result<serde_json::Value> {
    let json = scratch.path().join("figures.json");
    let path = json.to_str().context("a path of letters")?;
    let short = ["--connections", "4", "--ramp", "200ms", "--duration", "1s", "--json", path];
    well(server, &[words, &short].concat())?;
    Ok(serde_json::from_slice(&std::fs::read(&json)?)?)
}

/// Each kind of transaction was done at least once.
fn ensure_all_done(figures: &serde_json::Value, kinds: usize) -> Result<()> {
    let all = figures["summary"]["kinds"].as_array().context("kinds")?;
    ensure!(all.len() == kinds && all.iter().all(|kind| kind["count"].as_u64() > Some(0)), "{figures:#}");
    Ok(())
}

fn sql(server: &Server, statement: &str) -> Result<()> {
    let output = Command::new("psql").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, &server.url()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_bank_keeps_its_money_and_the_check_finds_what_is_stolen() -> Result<()> {
    let scratch = Scratch::new("benchmarks-bank")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(420)))?;
    let init = ["bank", "init", "--accounts", "20"];
    ensure!(well(&server, &init)?.contains("20 rows loaded"));
    ensure!(well(&server, &init)?.contains(" 0 rows loaded"));
    // Few accounts and no locks: transfers meet, and have to begin again rather than lose anything.
    let figures = run(&server, &scratch, &["bank", "run", "--audit-percent", "20"])?;
    ensure_all_done(&figures, 2)?;
    ensure!(well(&server, &["bank", "check"])?.contains("20000 in all"));
    for (damage, repair, told) in [
        (
            "update bank_accounts set balance = balance - 1 where id = 1",
            "update bank_accounts set balance = balance + 1 where id = 1",
            "1 of the 20000",
        ),
        ("insert into bank_accounts values (77, 0)", "delete from bank_accounts where id = 77", "21 accounts, of 20"),
    ] {
        sql(&server, damage)?;
        let output = workload(&server, &["bank", "check"])?;
        let out = String::from_utf8_lossy(&output.stdout);
        ensure!(!output.status.success() && out.contains(told), "{damage}: {out}");
        // And so does an audit.
        ensure!(
            !workload(&server, &["bank", "run", "--audit-percent", "100", "--ramp", "100ms", "--duration", "300ms"])?.status.success(),
            "{damage}"
        );
        sql(&server, repair)?;
        well(&server, &["bank", "check"])?;
    }
    Ok(())
}

#[test]
fn kv_and_ycsb_load_and_run() -> Result<()> {
    let scratch = Scratch::new("benchmarks-kv")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(430)))?;
    ensure!(well(&server, &["kv", "init", "--keys", "500"])?.contains("500 rows loaded"));
    ensure!(well(&server, &["kv", "init", "--keys", "500"])?.contains(" 0 rows loaded"));
    for more in [&["--distribution", "zipfian"][..], &["--batch", "10", "--value-bytes", "1000"]] {
        let words = [&["kv", "run", "--keys", "500", "--read-percent", "50"], more].concat();
        ensure_all_done(&run(&server, &scratch, &words)?, 2)?;
    }
    ensure!(well(&server, &["ycsb", "init", "--records", "300"])?.contains("300 rows loaded"));
    for (letter, kinds) in [("A", 2), ("B", 2), ("C", 1), ("D", 2), ("E", 2), ("F", 2)] {
        ensure_all_done(&run(&server, &scratch, &["ycsb", "run", "--workload", letter])?, kinds)?;
    }
    Ok(())
}

#[test]
fn the_queries_of_tpch_have_the_answers_of_postgresql() -> Result<()> {
    let scratch = Scratch::new("benchmarks-tpch")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(434)))?;
    let postgres = Postgres::start()?;
    let theirs = format!("postgresql://root@127.0.0.1:{}/defaultdb?sslmode=disable", postgres.port);
    let mut answers = Vec::new();
    for (name, url) in [("postgresql", theirs), ("meridian", server.url())] {
        let file = scratch.path().join(name);
        let path = file.to_str().context("a path of letters")?;
        for words in [&["tpch", "init", "--scale", "0.001"][..], &["tpch", "run", "--answers", path]] {
            let output = workload_at(&url, words)?;
            ensure!(output.status.success(), "{name}, {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        answers.push(std::fs::read_to_string(&file)?);
    }
    ensure!(answers[0].lines().count() > 100, "hardly any rows: {}", answers[0]);
    for (theirs, ours) in answers[0].split("-- ").zip(answers[1].split("-- ")) {
        ensure!(theirs == ours, "PostgreSQL answers {theirs}\nand Meridian {ours}");
    }
    Ok(())
}
