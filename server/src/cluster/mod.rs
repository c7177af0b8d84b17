//! `meridian cluster`: real node processes on this machine, spread over pretended regions.
//!
//! `up` starts one process a node, each with its own data directory and log, injects the distances between regions, waits until
//! every range has its replicas, and prints where to connect. The state is one file, `cluster.json`; processes are recognised by
//! pid *and* start time, so a recycled pid is never signalled.

mod process;
mod state;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use state::{ClusterState, NodeEntry};

/// What `cluster` can do.
#[derive(clap::Subcommand, Debug)]
pub enum ClusterCommand {
    /// Starts a cluster and waits until every range has its replicas.
    Up {
        #[command(flatten)]
        at: ClusterDir,
        /// First port: node N uses base+10N (SQL), +1 (node to node), +2 (HTTP).
        #[arg(long, default_value_t = 26257)]
        base_port: u16,
        /// Regions, comma-separated.
        #[arg(long, value_delimiter = ',', default_value = "us-east,eu-west,ap-south")]
        regions: Vec<String>,
        /// Nodes in each region.
        #[arg(long, default_value_t = 1)]
        nodes_per_region: usize,
        /// Round-trip times between regions; by default real distances between cloud regions.
        #[arg(long)]
        latency_matrix: Option<PathBuf>,
        /// No distance between regions.
        #[arg(long, conflicts_with = "latency_matrix")]
        no_latency: bool,
        /// Seconds after which a silent node's replicas are replaced.
        #[arg(long, default_value_t = 300)]
        dead_after: u64,
        /// The nodes treat their clocks as off by at most this much, for instance 5ms; by default they know that they share the host's.
        #[arg(long)]
        clock_bound: Option<String>,
        /// How far each node's clock is set off, comma-separated, for instance 3ms,-3ms,0ms: for tests, at most by the bound.
        #[cfg(debug_assertions)]
        #[arg(long, value_delimiter = ',', allow_hyphen_values = true, requires = "clock_bound")]
        clock_skew: Vec<String>,
    },
    /// Stops all nodes and removes the directory.
    Down {
        #[command(flatten)]
        at: ClusterDir,
        /// Keep data and logs.
        #[arg(long)]
        keep: bool,
    },
    /// Shows every node.
    Status(ClusterDir),
    /// Prints one SQL URL a line.
    Urls(ClusterDir),
    /// Kills a node (SIGKILL).
    Kill(NodeArg),
    /// Starts a node again (ending it first if it runs).
    Restart(NodeArg),
    /// Freezes a node (SIGSTOP).
    Pause(NodeArg),
    /// Lets a frozen node go on (SIGCONT).
    Resume(NodeArg),
    /// Adds one node to a running cluster.
    Add {
        #[command(flatten)]
        at: ClusterDir,
        /// Its region.
        #[arg(long)]
        region: String,
    },
    /// Kills a node and removes its data: it comes back, with `restart`, as a new node.
    Wipe(NodeArg),
}

/// Where the cluster lives.
#[derive(clap::Args, Clone, Debug)]
pub struct ClusterDir {
    /// The cluster's directory.
    #[arg(long)]
    pub dir: PathBuf,
}

/// One node of a cluster.
#[derive(clap::Args, Clone, Debug)]
pub struct NodeArg {
    /// The node's number, from 1.
    pub node: usize,
    /// The cluster's directory.
    #[arg(long)]
    pub dir: PathBuf,
}

/// Round-trip milliseconds between regions, as measured between the cloud regions of these names.
pub const DEFAULT_DISTANCES: &str = "\
us-east  eu-west   75
us-east  ap-south  190
eu-west  ap-south  120
us-east  us-west   62
eu-west  us-west   140
us-west  ap-south  220
us-east  ap-east   205
eu-west  ap-east   190
us-west  ap-east   150
ap-south ap-east   90
";

/// Carries out a command.
pub async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Up {
            at,
            base_port,
            regions,
            nodes_per_region,
            latency_matrix,
            no_latency,
            dead_after,
            clock_bound,
            #[cfg(debug_assertions)]
            clock_skew,
        } => {
            #[cfg(not(debug_assertions))]
            let clock_skew = Vec::new();
            let plan = UpPlan {
                dir: at.dir,
                base_port,
                regions,
                nodes_per_region,
                latency_matrix,
                no_latency,
                dead_after,
                clock_bound,
                clock_skew,
            };
            up(plan).await
        }
        ClusterCommand::Down { at, keep } => down(&at.dir, keep).await,
        ClusterCommand::Status(at) => {
            let state = ClusterState::load(&at.dir)?;
            print!("{}", wait::table(&state).await);
            Ok(())
        }
        ClusterCommand::Urls(at) => {
            for node in &ClusterState::load(&at.dir)?.nodes {
                println!("{}", node.sql_url());
            }
            Ok(())
        }
        ClusterCommand::Kill(arg) => signal(&arg, libc::SIGKILL),
        ClusterCommand::Pause(arg) => signal(&arg, libc::SIGSTOP),
        ClusterCommand::Resume(arg) => signal(&arg, libc::SIGCONT),
        ClusterCommand::Restart(arg) => restart(&arg).await,
        ClusterCommand::Add { at, region } => add(&at.dir, region).await,
        ClusterCommand::Wipe(arg) => {
            signal(&arg, libc::SIGKILL)?;
            let state = ClusterState::load(&arg.dir)?;
            let data = state.node(arg.node)?.data_dir.clone();
            std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))
        }
    }
}

struct UpPlan {
    dir: PathBuf,
    base_port: u16,
    regions: Vec<String>,
    nodes_per_region: usize,
    latency_matrix: Option<PathBuf>,
    no_latency: bool,
    dead_after: u64,
    clock_bound: Option<String>,
    clock_skew: Vec<String>,
}

async fn up(plan: UpPlan) -> Result<()> {
    if plan.regions.is_empty() || plan.nodes_per_region == 0 {
        bail!("a cluster needs at least one region with one node");
    }
    std::fs::create_dir_all(&plan.dir).with_context(|| format!("creating {}", plan.dir.display()))?;
    let dir = plan.dir.canonicalize()?;
    if ClusterState::path(&dir).exists() {
        let state = ClusterState::load(&dir)?;
        if state.nodes.iter().any(NodeEntry::running) {
            bail!("a cluster is already running in {}; end it with `meridian cluster down --dir {}`", dir.display(), dir.display());
        }
        eprintln!("starting the stopped cluster in {}", dir.display());
        return start_all(state, false).await;
    }
    let latency_matrix = match (plan.latency_matrix, plan.no_latency) {
        (_, true) => None,
        (Some(file), _) => Some(file.canonicalize().with_context(|| format!("reading {}", file.display()))?),
        (None, _) => {
            let file = dir.join("latency.txt");
            std::fs::write(&file, DEFAULT_DISTANCES)?;
            Some(file)
        }
    };
    let mut state = ClusterState {
        dir: dir.clone(),
        base_port: plan.base_port,
        latency_matrix,
        dead_after_secs: plan.dead_after,
        clock_bound: plan.clock_bound,
        clock_skew: plan.clock_skew,
        nodes: vec![],
    };
    for _ in 0..plan.nodes_per_region {
        for region in &plan.regions {
            state.push_node(region)?;
        }
    }
    start_all(state, true).await
}

async fn start_all(mut state: ClusterState, fresh: bool) -> Result<()> {
    for at in 0..state.nodes.len() {
        process::start(&mut state, at)?;
        state.save()?;
        let node = &state.nodes[at];
        eprintln!("node {} in {} started (pid {})", node.number, node.region, node.pid);
    }
    let began = async {
        wait::alive(&state).await?;
        if fresh {
            crate::init::run(&state.nodes[0].rpc_address(), Duration::from_secs(30)).await?;
        }
        wait::replicated(&state, true).await
    };
    if let Err(error) = began.await {
        for node in &state.nodes {
            eprintln!("--- node {} ---\n{}", node.number, process::log_tail(node));
        }
        return Err(error);
    }
    print!("{}", wait::table(&state).await);
    println!("\nconnect with:  psql '{}'", state.nodes[0].sql_url());
    Ok(())
}

async fn down(dir: &Path, keep: bool) -> Result<()> {
    let state = ClusterState::load(dir)?;
    for node in state.nodes.iter().filter(|n| n.running()) {
        // A frozen process does not see SIGTERM.
        node.signal(libc::SIGCONT)?;
        node.signal(libc::SIGTERM)?;
    }
    process::wait_gone(&state, Duration::from_secs(20)).await;
    for node in state.nodes.iter().filter(|n| n.running()) {
        eprintln!("node {} did not drain in time: killed", node.number);
        node.signal(libc::SIGKILL)?;
    }
    process::wait_gone(&state, Duration::from_secs(5)).await;
    if !keep {
        std::fs::remove_dir_all(&state.dir).with_context(|| format!("removing {}", state.dir.display()))?;
    }
    Ok(())
}

fn signal(arg: &NodeArg, signal: i32) -> Result<()> {
    let state = ClusterState::load(&arg.dir)?;
    let node = state.node(arg.node)?;
    if !node.running() {
        bail!("node {} does not run", arg.node);
    }
    node.signal(signal)
}

async fn restart(arg: &NodeArg) -> Result<()> {
    let mut state = ClusterState::load(&arg.dir)?;
    let at = state.position(arg.node)?;
    if state.nodes[at].running() {
        state.nodes[at].signal(libc::SIGCONT)?;
        state.nodes[at].signal(libc::SIGTERM)?;
        process::wait_one_gone(&state.nodes[at], Duration::from_secs(20)).await;
        if state.nodes[at].running() {
            state.nodes[at].signal(libc::SIGKILL)?;
            process::wait_one_gone(&state.nodes[at], Duration::from_secs(5)).await;
        }
    }
    process::start(&mut state, at)?;
    state.save()?;
    wait::ready(&state.nodes[at]).await
}

async fn add(dir: &Path, region: String) -> Result<()> {
    let mut state = ClusterState::load(dir)?;
    state.push_node(&region)?;
    let at = state.nodes.len() - 1;
    process::start(&mut state, at)?;
    state.save()?;
    wait::ready(&state.nodes[at]).await?;
    wait::replicated(&state, false).await?;
    print!("{}", wait::table(&state).await);
    Ok(())
}
