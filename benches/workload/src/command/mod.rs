//! The command line: `meridian workload …`. What all workloads share, and one file for the words of each.

mod bank;
mod cost;
mod kv;
mod tpcc;
mod tpch;
mod ycsb;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::compare::Comparison;
use crate::frame::RunOptions;
use crate::frame::machine::{Watch, Watched};
use crate::frame::outcome::Outcome;
use crate::frame::run::length;

/// A workload.
#[derive(Debug, Subcommand)]
pub enum WorkloadCommand {
    /// TPC-C, revision 5.11.
    #[command(subcommand)]
    Tpcc(tpcc::TpccCommand),
    /// Transfers between accounts, and audits: the total is constant.
    #[command(subcommand)]
    Bank(bank::BankCommand),
    /// Reads and writes of keys.
    #[command(subcommand)]
    Kv(kv::KvCommand),
    /// The six core workloads of YCSB.
    #[command(subcommand)]
    Ycsb(ycsb::YcsbCommand),
    /// The tables and the 22 queries of TPC-H.
    #[command(subcommand)]
    Tpch(tpch::TpchCommand),
    /// What commit wait, validation and the reply rule of Meridian cost, by the bound on the clock's error.
    #[command(subcommand)]
    Cost(cost::CostCommand),
    /// Makes one HTML page of the figures of one or several runs, of any workload.
    Report(Report),
    /// Renders what scripts/bench-compare measured.
    Compare {
        /// The measurements, one JSON object a line.
        measurements: PathBuf,
        /// The table; it is printed, too.
        #[arg(long)]
        markdown: Option<PathBuf>,
        /// The ratios as bars.
        #[arg(long)]
        svg: Option<PathBuf>,
    },
}

/// Where to work.
#[derive(Debug, Args)]
pub struct Target {
    /// A gateway; may be repeated: sessions are dealt to them, and one whose gateway is lost goes on at the next.
    #[arg(long = "url", default_value = "postgresql://root@127.0.0.1:26257/defaultdb")]
    urls: Vec<String>,
}

/// How long to run, and where the figures go.
#[derive(Debug, Args)]
pub struct Measurement {
    /// What is measured; an interrupt (SIGINT) ends it earlier.
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// What comes before.
    #[arg(long, default_value = "10s", value_parser = duration)]
    ramp: Duration,
    /// Where to write the figures.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What the sessions do is a function of this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A server on this machine whose CPU and disk are watched, with all its processes: NAME=PID; may be repeated.
    #[arg(long = "server", value_name = "NAME=PID")]
    servers: Vec<Watched>,
}

/// A page to make.
#[derive(Debug, Args)]
pub struct Report {
    /// Figures that `run --json` wrote.
    #[arg(required = true)]
    json: Vec<PathBuf>,
    /// The page.
    #[arg(long, default_value = "report.html")]
    out: PathBuf,
}

impl Report {
    fn write(&self) -> Result<bool> {
        let mut outcomes = Vec::new();
        for path in &self.json {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            let outcome = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            outcomes.push((name, outcome));
        }
        std::fs::write(&self.out, crate::report::page(&outcomes)).with_context(|| self.out.display().to_string())?;
        println!("{}", self.out.display());
        Ok(true)
    }
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: WorkloadCommand) -> Result<bool> {
    match command {
        WorkloadCommand::Tpcc(command) => tpcc::run(command).await,
        WorkloadCommand::Bank(command) => bank::run(command).await,
        WorkloadCommand::Kv(command) => kv::run(command).await,
        WorkloadCommand::Ycsb(command) => ycsb::run(command).await,
        WorkloadCommand::Tpch(command) => tpch::run(command).await,
        WorkloadCommand::Cost(command) => cost::run(command).await,
        WorkloadCommand::Report(report) => report.write(),
        WorkloadCommand::Compare { measurements, markdown, svg } => compare(&measurements, markdown.as_deref(), svg.as_deref()),
    }
}

fn compare(measurements: &Path, markdown: Option<&Path>, svg: Option<&Path>) -> Result<bool> {
    let text = std::fs::read_to_string(measurements).with_context(|| measurements.display().to_string())?;
    let comparison = Comparison::parse(&text).with_context(|| measurements.display().to_string())?;
    print!("{}", comparison.markdown());
    for (path, content) in [(markdown, comparison.markdown()), (svg, comparison.svg())] {
        if let Some(path) = path {
            std::fs::write(path, content).with_context(|| path.display().to_string())?;
        }
    }
    Ok(true)
}

fn options(target: Target, connections: usize, measurement: &Measurement) -> RunOptions {
    RunOptions { urls: target.urls, connections, length: length(measurement.ramp, measurement.duration), seed: measurement.seed }
}

/// Says what a load did.
fn loaded(what: &str, rows: u64, began: Instant) -> Result<bool> {
    println!("{what}: {rows} rows loaded in {:.1} s", began.elapsed().as_secs_f64());
    Ok(true)
}

/// Measures, watching what is to be watched. Answers whether nothing failed.
async fn measured(measurement: &Measurement, run: impl Future<Output = Result<Outcome>>) -> Result<bool> {
    let watch = Watch::start(measurement.servers.clone());
    let mut outcome = run.await?;
    outcome.servers = watch.finish(outcome.summary.seconds).await;
    shown(&outcome, measurement.json.as_deref())
}

/// Shows the figures, and writes them if a path is given. Answers whether nothing failed.
fn shown(outcome: &Outcome, json: Option<&Path>) -> Result<bool> {
    print!("{}", outcome.table());
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(outcome)?).with_context(|| path.display().to_string())?;
    }
    Ok(outcome.is_clean())
}

fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| format!("{text:?} is not a duration such as 500ms, 60s or 10m"))?;
    let unit = match &text[end..] {
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit {unit:?}: use ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|e| e.to_string())
}
