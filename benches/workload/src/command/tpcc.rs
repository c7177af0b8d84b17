//! `workload tpcc …`

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use super::{Measurement, Report, Target, loaded, measured};
use crate::frame::run::length;
use crate::tpcc;

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
        /// Terminals: by default ten a warehouse. Queued deliveries have connections of their own, one a warehouse.
        #[arg(long)]
        connections: Option<usize>,
        #[command(flatten)]
        measurement: Measurement,
        /// Without keying and think times.
        #[arg(long)]
        no_wait: bool,
        /// Where to write the result of each queued delivery, one JSON object a line.
        #[arg(long)]
        delivery_log: Option<PathBuf>,
    },
    /// Asks the twelve consistency conditions; while a run goes on, too.
    Check {
        #[command(flatten)]
        target: Target,
    },
    /// Makes one HTML page of the figures of one or several runs.
    Report(Report),
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: TpccCommand) -> Result<bool> {
    match command {
        TpccCommand::Init { target, warehouses, connections, seed } => {
            let began = std::time::Instant::now();
            let rows = tpcc::load::init(&target.urls, warehouses, connections, seed).await?;
            loaded(&format!("{warehouses} warehouses"), rows, began)
        }
        TpccCommand::Run { target, warehouses, connections, measurement, no_wait, delivery_log } => {
            let options = tpcc::run::Options {
                urls: target.urls,
                warehouses,
                connections: connections.unwrap_or(10 * warehouses as usize),
                length: length(measurement.ramp, measurement.duration),
                paced: !no_wait,
                seed: measurement.seed,
                delivery_log,
            };
            measured(&measurement, tpcc::run::measure(&options)).await
        }
        TpccCommand::Check { target } => tpcc::check::check(&target.urls[0]).await,
        TpccCommand::Report(report) => report.write(),
    }
}
