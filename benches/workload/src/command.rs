//! The command line: `meridian workload …`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{cost, tpcc};

/// A workload.
#[derive(Debug, Subcommand)]
pub enum WorkloadCommand {
    /// TPC-C, revision 5.11.
    #[command(subcommand)]
    Tpcc(TpccCommand),
    /// What commit wait, validation and the reply rule of Meridian cost, by the bound on the clock's error.
    #[command(subcommand)]
    Cost(CostCommand),
}

/// What to do about the cost of strictness.
#[derive(Debug, Subcommand)]
pub enum CostCommand {
    /// Measures one fresh cluster.
    Measure {
        /// A node; node 1 first, then the others in their order.
        #[arg(long = "url", required = true)]
        urls: Vec<String>,
        /// The HTTP address (host:port) of each node, in the same order.
        #[arg(long = "http", required = true)]
        https: Vec<String>,
        /// What this arrangement of replicas is called.
        #[arg(long)]
        topology: String,
        /// The bound on the clock's error that the nodes were started with, in milliseconds.
        #[arg(long)]
        epsilon: f64,
        /// The round trip to the nearest other replica, in milliseconds, if it is known.
        #[arg(long)]
        round_trip: Option<f64>,
        /// How long to measure.
        #[arg(long, default_value = "40s", value_parser = duration)]
        duration: Duration,
        /// Samples of each operation at most.
        #[arg(long, default_value_t = 400)]
        samples: u64,
        /// Where to write the figures.
        #[arg(long)]
        json: PathBuf,
    },
    /// Prints the tables of the figures of several clusters.
    Report {
        /// Figures that `measure --json` wrote.
        #[arg(required = true)]
        json: Vec<PathBuf>,
        /// Where to draw the plot.
        #[arg(long)]
        svg: PathBuf,
    },
}

/// What to do with TPC-C.
#[derive(Debug, Subcommand)]
pub enum TpccCommand {
    /// Makes the tables and loads them. What is there already is left: a load that was broken off goes on.
    Init {
        #[command(flatten)]
        target: Target,
        /// Warehouses.
        #[arg(long, default_value_t = 1)]
        warehouses: i32,
        /// Loading sessions.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// The population is a function of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs the mix and prints the figures.
    Run {
        #[command(flatten)]
        target: Target,
        /// Warehouses.
        #[arg(long, default_value_t = 1)]
        warehouses: i32,
        /// Terminals: by default ten a warehouse.
        #[arg(long)]
        connections: Option<usize>,
        /// What is measured.
        #[arg(long, default_value = "60s", value_parser = duration)]
        duration: Duration,
        /// What comes before.
        #[arg(long, default_value = "10s", value_parser = duration)]
        ramp: Duration,
        /// Without keying and think times.
        #[arg(long)]
        no_wait: bool,
        /// Where to write the figures.
        #[arg(long)]
        json: Option<PathBuf>,
        /// What the terminals do is a function of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Asks the twelve consistency conditions; while a run goes on, too.
    Check {
        #[command(flatten)]
        target: Target,
    },
    /// Makes one HTML page of the figures of one or several runs.
    Report {
        /// Figures that `run --json` wrote.
        #[arg(required = true)]
        json: Vec<PathBuf>,
        /// The page.
        #[arg(long, default_value = "report.html")]
        out: PathBuf,
    },
}

/// Where to work.
#[derive(Debug, Args)]
pub struct Target {
    /// A gateway; may be repeated.
    #[arg(long = "url", default_value = "postgresql://root@127.0.0.1:26257/defaultdb")]
    urls: Vec<String>,
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: WorkloadCommand) -> Result<bool> {
    match command {
        WorkloadCommand::Tpcc(command) => run_tpcc(command).await,
        WorkloadCommand::Cost(command) => run_cost(command).await,
    }
}

async fn run_cost(command: CostCommand) -> Result<bool> {
    match command {
        CostCommand::Measure { urls, https, topology, epsilon, round_trip, duration, samples, json } => {
            let options = cost::measure::Options {
                urls,
                https,
                topology,
                epsilon_ms: epsilon,
                round_trip_ms: round_trip,
                length: duration,
                samples_max: samples,
            };
            let outcome = cost::measure::measure(&options).await?;
            std::fs::write(&json, serde_json::to_vec_pretty(&outcome)?).with_context(|| json.display().to_string())?;
        }
        CostCommand::Report { json, svg } => {
            let outcomes: Vec<cost::Outcome> = json.iter().map(figures).collect::<Result<_>>()?;
            print!("{}", cost::report::markdown(&outcomes));
            std::fs::write(&svg, cost::report::plot(&outcomes)).with_context(|| svg.display().to_string())?;
        }
    }
    Ok(true)
}

/// What an earlier run wrote.
fn figures<T: serde::de::DeserializeOwned>(path: &PathBuf) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

async fn run_tpcc(command: TpccCommand) -> Result<bool> {
    match command {
        TpccCommand::Init { target, warehouses, connections, seed } => {
            let began = std::time::Instant::now();
            let rows = tpcc::load::init(&target.urls, warehouses, connections, seed).await?;
            println!("{warehouses} warehouses: {rows} rows loaded in {:.1} s", began.elapsed().as_secs_f64());
            Ok(true)
        }
        TpccCommand::Run { target, warehouses, connections, duration, ramp, no_wait, json, seed } => {
            let options = tpcc::run::Options {
                urls: target.urls,
                warehouses,
                connections: connections.unwrap_or(10 * warehouses as usize),
                length: tpcc::run::length(ramp, duration),
                paced: !no_wait,
                seed,
            };
            let outcome = tpcc::run::measure(&options).await?;
            print!("{}", outcome.table());
            if let Some(path) = json {
                std::fs::write(&path, serde_json::to_vec_pretty(&outcome)?).with_context(|| path.display().to_string())?;
            }
            Ok(outcome.summary.kinds.iter().all(|k| k.failures() == 0))
        }
        TpccCommand::Check { target } => tpcc::check::check(&target.urls[0]).await,
        TpccCommand::Report { json, out } => {
            let mut outcomes = Vec::new();
            for path in &json {
                outcomes.push((path.display().to_string(), figures(path)?));
            }
            std::fs::write(&out, crate::report::page(&outcomes)).with_context(|| out.display().to_string())?;
            println!("{}", out.display());
            Ok(true)
        }
    }
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
