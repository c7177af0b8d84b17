//! `workload kv …`

use anyhow::Result;
use clap::Subcommand;

use super::{Measurement, Target, loaded, measured, options};
use crate::frame::random::Distribution;
use crate::kv;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum KvCommand {
    /// Loads the keys. What is there already is left.
    Init {
        #[command(flatten)]
        target: Target,
        /// Loading sessions.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Keys.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        keys: u64,
        /// Size of a value.
        #[arg(long, default_value_t = 100, value_parser = value_bytes)]
        value_bytes: usize,
        /// The values are a function of this.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs reads and writes and prints the figures.
    Run {
        #[command(flatten)]
        target: Target,
        /// Sessions.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[command(flatten)]
        measurement: Measurement,
        /// Keys that are used: what was loaded, or the first of it.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        keys: u64,
        /// Reads of a hundred transactions.
        #[arg(long, default_value_t = 95, value_parser = clap::value_parser!(u32).range(0..=100))]
        read_percent: u32,
        /// How keys are chosen.
        #[arg(long, value_enum, default_value_t = Distribution::Uniform)]
        distribution: Distribution,
        /// Size of what is written.
        #[arg(long, default_value_t = 100, value_parser = value_bytes)]
        value_bytes: usize,
        /// Keys of a transaction.
        #[arg(long, default_value_t = 1)]
        batch: usize,
    },
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: KvCommand) -> Result<bool> {
    match command {
        KvCommand::Init { target, connections, keys, value_bytes, seed } => {
            let began = std::time::Instant::now();
            let rows = kv::init(&target.urls, keys, value_bytes, connections, seed).await?;
            loaded(&format!("{keys} keys"), rows, began)
        }
        KvCommand::Run { target, connections, measurement, keys, read_percent, distribution, value_bytes, batch } => {
            let what = kv::Options { keys, read_percent, distribution, value_bytes, batch };
            let options = options(target, connections, &measurement);
            measured(&measurement, kv::measure(&options, what)).await
        }
    }
}

/// A size of values: up to a mebibyte.
fn value_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 0..=1_048_576) => Ok(bytes),
        _ => Err("a number of bytes up to 1048576".into()),
    }
}
