//! `workload bank …`

use anyhow::Result;
use clap::Subcommand;

use super::{Measurement, Target, loaded, measured, options};
use crate::bank;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum BankCommand {
    /// Makes the accounts. What is there already is left.
    Init {
        #[command(flatten)]
        target: Target,
        /// Loading sessions.
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Accounts.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(2..=1_000_000_000))]
        accounts: u64,
    },
    /// Runs transfers and audits and prints the figures. An audit that finds another total counts as an error.
    Run {
        #[command(flatten)]
        target: Target,
        /// Sessions.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[command(flatten)]
        measurement: Measurement,
        /// Audits of a hundred transactions.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
        audit_percent: u32,
        /// Reads lock the rows: no level of isolation loses money then.
        #[arg(long)]
        lock: bool,
    },
    /// Whether all the money is there; while a run goes on, too.
    Check {
        #[command(flatten)]
        target: Target,
    },
}

/// Does what was asked. Answers whether all is well.
pub async fn run(command: BankCommand) -> Result<bool> {
    match command {
        BankCommand::Init { target, connections, accounts } => {
            let began = std::time::Instant::now();
            let rows = bank::init(&target.urls, accounts, connections).await?;
            loaded(&format!("{accounts} accounts"), rows, began)
        }
        BankCommand::Run { target, connections, measurement, audit_percent, lock } => {
            let options = options(target, connections, &measurement);
            measured(&measurement, bank::measure(&options, bank::Options { audit_percent, lock })).await
        }
        BankCommand::Check { target } => bank::check::check(&target.urls[0]).await,
    }
}
