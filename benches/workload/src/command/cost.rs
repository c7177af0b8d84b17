//! `workload cost …`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;

use super::duration;
use crate::cost;

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

/// Does what was asked.
pub async fn run(command: CostCommand) -> Result<bool> {
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
