//! The `meridian` binary: flags, and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use meridian::cluster::{self, ClusterCommand};
use meridian::serve::{ClockChoice, ServeOptions};
use meridian_replication::api::Locality;

/// A statement is a few dozen small allocations that often end on another thread: what glibc's allocator is slow at (a tenth of a point read).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A globally distributed, strictly serializable SQL database that speaks PostgreSQL.
#[derive(Parser)]
#[command(name = "meridian", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a cluster of one node.
    StartSingleNode(NodeFlags),
    /// Runs one node of a cluster.
    Start {
        #[command(flatten)]
        node: NodeFlags,
        /// Node-to-node address.
        #[arg(long, default_value = "127.0.0.1:26357")]
        rpc_listen: String,
        /// Node-to-node addresses of other nodes, comma-separated.
        #[arg(long, value_delimiter = ',', required = true)]
        join: Vec<String>,
        /// Round-trip times between regions, injected between nodes.
        #[arg(long)]
        latency_matrix: Option<PathBuf>,
        /// The kernel clock is off by at most this much, for instance 5ms.
        #[arg(long, value_parser = duration)]
        clock_bound: Option<Duration>,
        /// Sets the clock off, for instance by -3ms: for tests, at most by the bound.
        #[cfg(debug_assertions)]
        #[arg(long, value_parser = skew, default_value = "0ms", allow_hyphen_values = true)]
        clock_skew: i64,
        /// All nodes run on this host and share its clock.
        #[arg(long, conflicts_with = "clock_bound")]
        shared_host_clock: bool,
        /// A node silent for this long has its replicas replaced.
        #[arg(long, value_parser = duration, default_value = "300s")]
        dead_after: Duration,
    },
    /// Founds a cluster on a node that waits for it.
    Init {
        /// The node's node-to-node address.
        #[arg(long)]
        host: String,
        /// Certificates directory of a secure cluster.
        #[arg(long)]
        certs_dir: Option<PathBuf>,
    },
    /// Runs a multi-region cluster on this machine.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Runs SQL: statements of --execute, or of standard input.
    Sql {
        /// Where to connect.
        #[arg(long, default_value = "postgresql://root@127.0.0.1:26257/defaultdb")]
        url: String,
        /// A statement to run; may be repeated.
        #[arg(short, long)]
        execute: Vec<String>,
    },
    /// Runs a standard workload against any PostgreSQL server.
    #[command(subcommand)]
    Workload(meridian_workload::command::WorkloadCommand),
    /// Makes TLS material.
    #[command(subcommand)]
    Cert(CertCommand),
}

#[derive(Subcommand)]
enum CertCommand {
    /// Makes an authority: ca.crt and ca.key.
    CreateCa {
        /// Where.
        #[arg(long)]
        certs_dir: PathBuf,
    },
    /// Makes a node certificate: node.crt and node.key.
    CreateNode {
        /// Where ca.crt and ca.key are.
        #[arg(long)]
        certs_dir: PathBuf,
        /// Names and addresses by which the node is reached.
        hosts: Vec<String>,
    },
}

#[derive(Args)]
struct NodeFlags {
    /// Where the node keeps its data.
    #[arg(long)]
    data_dir: PathBuf,
    /// SQL address.
    #[arg(long, default_value = "127.0.0.1:26257")]
    listen: String,
    /// HTTP address.
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: String,
    /// Where the node stands, for instance region=eu-west,zone=b.
    #[arg(long, value_parser = locality, default_value = "")]
    locality: Locality,
    /// No TLS and no passwords.
    #[arg(long)]
    insecure: bool,
    /// Certificates directory.
    #[arg(long)]
    certs_dir: Option<PathBuf>,
    /// File whose first line becomes root's password, if root has none yet. Later it is changed with ALTER ROLE.
    #[arg(long, env = "MERIDIAN_ROOT_PASSWORD_FILE")]
    root_password_file: Option<PathBuf>,
    /// SQL clients at most.
    #[arg(long, default_value_t = 1000)]
    max_connections: usize,
    /// Cache in MiB: half of it for blocks of the store, half for single rows that are read again and again.
    #[arg(long, default_value_t = 256)]
    cache_mib: usize,
    /// Writes are refused while less than this is free on the disk, in MiB.
    #[arg(long, default_value_t = 256)]
    min_free_mib: u64,
    /// Old versions are kept this long. The same on all nodes.
    #[arg(long, value_parser = duration, default_value = "4h")]
    gc_ttl: Duration,
    /// Open transactions keep the versions that they read beyond that, until their snapshot is so old; then they get 55000. Not above --gc-ttl: they
    /// keep nothing.
    #[arg(long, value_parser = duration, default_value = "24h")]
    snapshot_age_max: Duration,
    /// Size at which a range splits, in MiB.
    #[arg(long, default_value_t = 512)]
    range_max_mib: u64,
}

impl NodeFlags {
    fn options(self) -> ServeOptions {
        ServeOptions {
            data_dir: self.data_dir,
            listen: self.listen,
            rpc_listen: None,
            http: self.http,
            join: vec![],
            locality: self.locality,
            latency_matrix: None,
            clock: ClockChoice::SharedHost,
            insecure: self.insecure,
            certs_dir: self.certs_dir,
            root_password_file: self.root_password_file,
            dead_after: Duration::from_secs(300),
            max_connections: self.max_connections,
            cache_bytes: self.cache_mib << 20,
            min_free_bytes: self.min_free_mib << 20,
            gc_ttl: self.gc_ttl,
            snapshot_age_max: self.snapshot_age_max,
            range_max_bytes: self.range_max_mib << 20,
            #[cfg(debug_assertions)]
            clock_skew_nanos: 0,
        }
    }
}

fn locality(text: &str) -> Result<Locality, String> {
    let tier = |part: &str| match part.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{part:?} is not of the form tier=value")),
    };
    text.split(',').filter(|p| !p.is_empty()).map(tier).collect::<Result<Vec<_>, _>>().map(Locality)
}

fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| format!("{text:?} is not a duration such as 5ms, 10s or 4h"))?;
    let seconds = match &text[end..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit {unit:?}: use us, ms, s, m or h")),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|e| e.to_string())
}

/// A duration with a sign, in nanoseconds.
#[cfg(debug_assertions)]
fn skew(text: &str) -> Result<i64, String> {
    let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
    Ok(sign * i64::try_from(duration(size)?.as_nanos()).map_err(|e| e.to_string())?)
}

/// Stack of a worker thread: recursion over deep values and plans is limited by depth, and must fit here in unoptimised builds too. Untouched
/// pages cost nothing.
const WORKER_STACK_BYTES: usize = 16 << 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("MERIDIAN_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    // Two at least: one may be waiting for a quick disk (`LogWriter::sync_pending`). More than cores would make every read dearer.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_stack_size(WORKER_STACK_BYTES).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("meridian: starting the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("meridian: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<bool> {
    match command {
        Command::StartSingleNode(flags) => meridian::serve::run(flags.options()).await.map(|()| true),
        Command::Start {
            node,
            rpc_listen,
            join,
            latency_matrix,
            clock_bound,
            #[cfg(debug_assertions)]
            clock_skew,
            shared_host_clock,
            dead_after,
        } => {
            let clock = match (clock_bound, shared_host_clock) {
                (Some(bound), _) => ClockChoice::Bound(bound),
                (None, true) => ClockChoice::SharedHost,
                (None, false) => ClockChoice::Kernel,
            };
            // A node's own address in its join list is how scripts start all nodes alike.
            let join = join.into_iter().filter(|j| *j != rpc_listen).collect();
            let options = ServeOptions { rpc_listen: Some(rpc_listen), join, latency_matrix, clock, dead_after, ..node.options() };
            #[cfg(debug_assertions)]
            let options = ServeOptions { clock_skew_nanos: clock_skew, ..options };
            meridian::serve::run(options).await.map(|()| true)
        }
        Command::Init { host, certs_dir } => {
            let tls = certs_dir.as_deref().map(meridian::serve::tls_paths);
            meridian::init::run_with(&host, Duration::from_secs(30), tls).await.map(|()| true)
        }
        Command::Cluster(command) => cluster::run(command).await.map(|()| true),
        Command::Sql { url, execute } => meridian::shell::run(&url, &execute).await,
        Command::Workload(command) => meridian_workload::command::run(command).await,
        Command::Cert(CertCommand::CreateCa { certs_dir }) => {
            meridian::tls::create_ca(&certs_dir).map(|()| true).context("making an authority")
        }
        Command::Cert(CertCommand::CreateNode { certs_dir, hosts }) => {
            if hosts.is_empty() {
                bail!("name the hosts and addresses by which the node is reached");
            }
            meridian::tls::create_node(&certs_dir, &hosts).map(|()| true).context("making a node certificate")
        }
    }
}
