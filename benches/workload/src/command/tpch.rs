//! `workload tpch …`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

use super::{Target, duration, loaded, shown};
use crate::tpch::{self, KINDS};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum TpchCommand {
    /// Makes the tables and loads them. What is there already is left.
    Init {
        #[command(flatten)]
        target: Target,
        /// Loading sessions.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// The scale factor: 1 is six million lines, a gigabyte.
        #[arg(long, default_value_t = 0.1)]
        scale: f64,
        /// The population is a function of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs the queries, each timed, and prints the figures.
    Run {
        #[command(flatten)]
        target: Target,
        /// Streams that run all queries, side by side.
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// How often each stream runs each query.
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// Only these, by number, comma-separated.
        #[arg(long, value_delimiter = ',')]
        queries: Vec<usize>,
        /// A query that takes longer is ended and counted as failed.
        #[arg(long, default_value = "10m", value_parser = duration)]
        timeout: Duration,
        /// Where to write the figures.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Where to write what was answered, as text.
        #[arg(long)]
        answers: Option<PathBuf>,
        /// The orders of all streams but the first are functions of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: TpchCommand) -> Result<bool> {
    match command {
        TpchCommand::Init { target, connections, scale, seed } => {
            let began = std::time::Instant::now();
            let rows = tpch::load::init(&target.urls, scale, connections, seed).await?;
            loaded(&format!("scale {scale}"), rows, began)
        }
        TpchCommand::Run { target, connections, rounds, queries, timeout, json, answers, seed } => {
            let queries = if queries.is_empty() { (1..=KINDS.len()).collect() } else { queries };
            let options = tpch::run::Options { urls: target.urls, connections, rounds, queries, timeout, seed, answers };
            shown(&tpch::run::measure(&options).await?, json.as_deref())
        }
    }
}
