//! `chaos --minutes M [--seed S] [--faults kill,pause,…] [--workloads bank,…] [--count N] [--near] [--report FILE]`: a campaign against real processes.
//!
//! Exit code 1 if anything was wrong: an anomaly in a history, an error at a gateway that no fault touched, a gateway that stopped.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meridian_tests::chaos::fault::Kind;
use meridian_tests::chaos::{Plan, run, save};
use meridian_tests::process::port;
use meridian_tests::workloads::Workload;

const USAGE: &str = "options: --minutes M --seed S --faults A,B --workloads A,B --count N --per-gateway N --clock-bound MILLIS --near --dir D --report FILE";

fn options() -> Result<(Plan, Option<PathBuf>)> {
    let mut plan = Plan {
        duration: Duration::from_secs(600),
        faults_max: usize::MAX,
        seed: 1,
        workloads: Workload::ALL.to_vec(),
        kinds: Kind::ALL.to_vec(),
        faults_per_round: 3,
        per_gateway: 3,
        clock_bound: Duration::from_millis(5),
        near: false,
        directory: std::env::temp_dir().join(format!("meridian-chaos-{}", std::process::id())),
        base_port: port(600),
    };
    let mut report = None;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match word.as_str() {
            "--minutes" => plan.duration = Duration::from_secs_f64(value()?.parse::<f64>()? * 60.0),
            "--seed" => plan.seed = value()?.parse()?,
            "--count" => plan.faults_max = value()?.parse()?,
            "--per-gateway" => plan.per_gateway = value()?.parse()?,
            "--clock-bound" => plan.clock_bound = Duration::from_secs_f64(value()?.parse::<f64>()? / 1e3),
            "--near" => plan.near = true,
            "--dir" => plan.directory = value()?.into(),
            "--report" => report = Some(value()?.into()),
            "--faults" => {
                let named = |name: &str| Kind::ALL.into_iter().find(|k| k.name() == name).with_context(|| format!("no fault {name}"));
                plan.kinds = value()?.split(',').map(named).collect::<Result<_>>()?;
            }
            "--workloads" => {
                let named =
                    |name: &str| Workload::ALL.into_iter().find(|w| w.name() == name).with_context(|| format!("no workload {name}"));
                plan.workloads = value()?.split(',').map(named).collect::<Result<_>>()?;
            }
            other => bail!("unknown option {other}; {USAGE}"),
        }
    }
    Ok((plan, report))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 3)]
async fn main() -> Result<ExitCode> {
    let (plan, report_file) = options()?;
    std::fs::create_dir_all(&plan.directory)?;
    println!("seed {}, data in {}", plan.seed, plan.directory.display());
    let report = run(&plan).await?;
    println!("\nmilliseconds, median/worst, at gateways that the fault does not touch:");
    println!(
        "{:<12} {:>4} | {:>7} | {:>5} | {:>4} | {:>4} | {:>11} | {:>11} | {:>11} | {:>11}",
        "fault", "n", "ok", "retry", "unkn", "viol", "p99", "longest gap", "failover", "recovery"
    );
    for (kind, summary) in &report.summary {
        println!("{kind:<12} {summary}");
    }
    let file = report_file.unwrap_or_else(|| plan.directory.join("report.json"));
    save(&report, &file)?;
    let (acknowledged, unknown): (usize, usize) =
        (report.rounds.iter().map(|r| r.acknowledged).sum(), report.rounds.iter().map(|r| r.unknown).sum());
    println!(
        "{:.0} s, {} workloads, {} faults, {acknowledged} acknowledged, {unknown} unknown, {} ranges agree; report: {}",
        report.seconds,
        report.rounds.len(),
        report.faults.len(),
        report.ranges_compared,
        file.display()
    );
    for what in &report.wrong {
        println!("✗ {what}");
    }
    Ok(if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
