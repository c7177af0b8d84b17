//! The workloads without the database: `workload tpcc run --url …`, for a client machine that has no `meridian`.

use clap::Parser;
use meridian_workload::command::{WorkloadCommand, run};

/// Standard workloads over the PostgreSQL wire.
#[derive(Parser)]
#[command(name = "workload", version)]
struct Cli {
    #[command(subcommand)]
    command: WorkloadCommand,
}

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    let well = run(Cli::parse().command).await?;
    Ok(if well { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}
