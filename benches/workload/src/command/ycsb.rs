//! `workload ycsb …`

use anyhow::Result;
use clap::Subcommand;

use super::{Measurement, Target, loaded, measured, options};
use crate::ycsb::{self, Letter};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum YcsbCommand {
    /// Loads the records. What is there already is left.
    Init {
        #[command(flatten)]
        target: Target,
        /// Loading sessions.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Records.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        records: u64,
        /// The fields are a function of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs one of the six and prints the figures.
    Run {
        #[command(flatten)]
        target: Target,
        /// Sessions.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[command(flatten)]
        measurement: Measurement,
        /// Which of the six.
        #[arg(long, value_enum, ignore_case = true)]
        workload: Letter,
    },
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: YcsbCommand) -> Result<bool> {
    match command {
        YcsbCommand::Init { target, connections, records, seed } => {
            let began = std::time::Instant::now();
            let rows = ycsb::init(&target.urls, records, connections, seed).await?;
            loaded(&format!("{records} records"), rows, began)
        }
        YcsbCommand::Run { target, connections, measurement, workload } => {
            let options = options(target, connections, &measurement);
            measured(&measurement, ycsb::measure(&options, workload)).await
        }
    }
}
