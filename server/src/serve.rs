//! `meridian start` and `start-single-node`: one node process, from flags to drained.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use futures::future::BoxFuture;
use meridian_clock::{BoundedClock, Clock, Entropy, KernelClock, PhysicalClock, SharedHostClock, TaskGroup};
use meridian_replication::api::Locality;
use meridian_replication::placement::QueueOptions;
use meridian_replication::registry::{Addresses, RegistryOptions, Standing};
use meridian_replication::store::StoreConfig;
use meridian_replication::transport::LatencyMatrix;
use meridian_replication::transport::grpc::{GrpcConfig, GrpcTransport, TlsPaths, TransportLimits};
use meridian_storage::Engine;
use meridian_storage::log_writer::LogWriterMode;
use meridian_storage::rocks::{RocksEngine, RocksOptions};
use meridian_txn::Config as TxnConfig;
use parking_lot::Mutex;
use tokio::net::{TcpListener, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::http::{self, Metric, NodeStatus, ReplicaCheck};
use crate::node::{Foundation, Node};
use crate::tls;
use crate::wire::listener::{SqlListener, WireConfig};

/// Cores that one statement's scan of a large table takes at most.
const SCAN_TASKS_MAX: usize = 4;
/// Sessions in a transaction get this long to finish when the node drains.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Leases are handed over for at most this long.
const LEASE_LIMIT: Duration = Duration::from_secs(5);
/// How often readiness is probed.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Which clock a node trusts.
#[derive(Clone, Debug)]
pub enum ClockChoice {
    /// The kernel's, with the error that chrony or ntpd maintains.
    Kernel,
    /// The kernel's, with a stated bound.
    Bound(Duration),
    /// One host clock for all nodes.
    SharedHost,
}

/// What the flags say.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Data directory.
    pub data_dir: PathBuf,
    /// SQL address.
    pub listen: String,
    /// Node-to-node address; `None`: a single node that talks to nobody.
    pub rpc_listen: Option<String>,
    /// HTTP address.
    pub http: String,
    /// Join addresses.
    pub join: Vec<String>,
    /// `region=…,zone=…`
    pub locality: Locality,
    /// Injected distances.
    pub latency_matrix: Option<PathBuf>,
    /// Clock.
    pub clock: ClockChoice,
    /// No TLS, no passwords.
    pub insecure: bool,
    /// Certificates directory.
    pub certs_dir: Option<PathBuf>,
    /// File with root's first password.
    pub root_password_file: Option<PathBuf>,
    /// Seconds of silence after which a node's replicas are replaced.
    pub dead_after: Duration,
    /// Clients at most.
    pub max_connections: usize,
    /// Block cache, in bytes.
    pub cache_bytes: usize,
    /// Writes are refused below this much free disk, in bytes.
    pub min_free_bytes: u64,
    /// Old versions are kept this long.
    pub gc_ttl: Duration,
    /// And beyond that for open transactions whose snapshots are younger than this.
    pub snapshot_age_max: Duration,
    /// Size at which a range splits, in bytes.
    pub range_max_bytes: u64,
    /// How far the clock is set off, in nanoseconds: for tests.
    #[cfg(debug_assertions)]
    pub clock_skew_nanos: i64,
}

/// Runs a node until it is told to stop.
pub async fn run(options: ServeOptions) -> Result<()> {
    check_security(&options)?;
    let single = options.rpc_listen.is_none();
    let source = clock_source(&options.clock, single);
    #[cfg(debug_assertions)]
    let (source, skew_nanos, bound) = skewed(source, &options, single)?;
    let clock = Clock::new(source).map_err(|e| anyhow::anyhow!("{e}"))?;
    let material = match &options.certs_dir {
        Some(dir) if !options.insecure => Some(tls::read(dir)?),
        _ => None,
    };
    let root_password = options.root_password_file.as_deref().map(read_password).transpose()?;
    let (entropy, tasks) = (Entropy::from_os(), TaskGroup::new());
    let engine = open_store(&options)?;
    let transport = open_transport(&options, &clock, &entropy, &tasks).await?;
    let sql = TcpListener::bind(&options.listen).await.with_context(|| format!("listening for SQL on {}", options.listen))?;
    let web = TcpListener::bind(&options.http).await.with_context(|| format!("listening for HTTP on {}", options.http))?;
    let addresses = Addresses { rpc: transport.local_address().to_string(), sql: options.listen.clone(), http: options.http.clone() };
    let (drain, draining) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let status = Arc::new(Status {
        node: Mutex::new(None),
        not_ready: Mutex::new(Some("starting".into())),
        engine: engine.clone(),
        #[cfg(debug_assertions)]
        faults: crate::faults::Faults { transport: transport.clone(), skew_nanos, bound },
    });
    let web_server = tokio::spawn(http::serve(web, status.clone(), stopping));

    let spill_dir = options.data_dir.join("spill");
    std::fs::create_dir_all(&spill_dir)?;
    let foundation = Foundation {
        engine,
        log_mode: LogWriterMode::Thread,
        transport: transport.clone(),
        clock,
        entropy,
        tasks: tasks.clone(),
        addresses,
        locality: options.locality.clone(),
        join: options.join.clone(),
        found: single,
        spill_dir,
        registry: RegistryOptions { dead_after: options.dead_after, ..RegistryOptions::default() },
        store: StoreConfig { range_max_bytes: options.range_max_bytes, ..StoreConfig::default() },
        placement: placement(single),
        txn: txn_config(&options),
    };
    *status.not_ready.lock() = Some("waiting for init or for a member to let this node join".into());
    let mut ends = Ends::new()?;
    let node = tokio::select! {
        biased;
        () = ends.asked() => return Ok(()),
        node = Node::start(foundation) => Arc::new(node?),
    };
    let wire = WireConfig {
        max_connections: options.max_connections,
        max_message_bytes: 256 << 20,
        tls: material.as_ref().map(tls::acceptor).transpose()?,
        secure: !options.insecure,
    };
    let listener = SqlListener::new(node.database.clone(), wire);
    *status.node.lock() = Some((node.clone(), listener.clone()));
    tasks.spawn(probe(status.clone(), node.clone(), root_password));
    tracing::info!(node = %node.id(), sql = %options.listen, http = %options.http, "serving");
    let accepting = tokio::spawn(listener.clone().run(sql, draining));
    let mut standing = node.registry.standing();
    let mut verdict = node.store.clock_verdict();
    tokio::select! {
        biased;
        // At once, without handing anything over: what this node says of the time is worth nothing.
        Ok(why) = verdict.wait_for(Option::is_some) => {
            let why = why.clone().unwrap_or_default();
            tasks.abort_all();
            bail!("{why}; the node has stopped serving. Set the clock right (chrony, ntpd), or state a wider --clock-bound on all nodes, and start it again");
        }
        () = ends.asked() => tracing::info!("draining"),
        _ = standing.wait_for(|s| *s == Standing::Removed) => tracing::error!("this node was removed from the cluster: stopping"),
    }
    *status.not_ready.lock() = Some("draining".into());
    drain.send_replace(true);
    wait_for_clients(&listener).await;
    accepting.abort();
    node.give_leases_away(LEASE_LIMIT).await;
    if let Err(error) = node.store.flush() {
        tracing::warn!(%error, "the last flush failed; the log has everything");
    }
    transport.shutdown().await;
    tasks.abort_all();
    stop.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), web_server).await;
    Ok(())
}

fn txn_config(options: &ServeOptions) -> TxnConfig {
    let defaults = TxnConfig::default();
    // A short TTL wants to be followed closely.
    let gc_period = (options.gc_ttl / 4).clamp(Duration::from_secs(1), defaults.gc_period);
    let scan_tasks = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(SCAN_TASKS_MAX));
    TxnConfig {
        gc_ttl: options.gc_ttl,
        snapshot_age_max: options.snapshot_age_max,
        gc_period,
        scan_tasks,
        row_cache_bytes: options.cache_bytes / 2,
        ..defaults
    }
}

/// A cluster of one node keeps one replica of each range, and does not call that too few.
fn placement(single: bool) -> QueueOptions {
    let mut options = QueueOptions::default();
    if single {
        options.policy.replication_factor = 1;
    }
    options
}

/// The signals that end a node.
struct Ends {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> Result<Self> {
        Ok(Ends { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }
    async fn asked(&mut self) {
        tokio::select! {
            biased;
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

fn check_security(options: &ServeOptions) -> Result<()> {
    if options.insecure {
        tracing::warn!(
            "RUNNING WITHOUT SECURITY (--insecure): no TLS, no passwords. Anyone who reaches the ports can read and change all data."
        );
        return Ok(());
    }
    if options.certs_dir.is_none() {
        bail!("a node needs TLS material: make it with `meridian cert` and name it with --certs-dir, or say --insecure");
    }
    Ok(())
}

fn clock_source(choice: &ClockChoice, single: bool) -> Arc<dyn PhysicalClock> {
    match choice {
        // One node has one clock: it waits for nobody.
        _ if single => Arc::new(SharedHostClock),
        ClockChoice::SharedHost => Arc::new(SharedHostClock),
        ClockChoice::Bound(bound) => Arc::new(BoundedClock::new(*bound)),
        ClockChoice::Kernel => Arc::new(KernelClock),
    }
}

/// The clock with the skew of `--clock-skew`, the skew, and how far it may go.
#[cfg(debug_assertions)]
fn skewed(
    source: Arc<dyn PhysicalClock>,
    options: &ServeOptions,
    single: bool,
) -> Result<(Arc<dyn PhysicalClock>, Arc<std::sync::atomic::AtomicI64>, Duration)> {
    let bound = match options.clock {
        ClockChoice::Bound(bound) if !single => bound,
        _ => Duration::ZERO,
    };
    if !crate::faults::within(options.clock_skew_nanos, bound) {
        bail!("--clock-skew lies beyond --clock-bound: such a cluster promises nothing");
    }
    let skew_nanos = Arc::new(std::sync::atomic::AtomicI64::new(options.clock_skew_nanos));
    Ok((Arc::new(crate::faults::SkewedClock::new(source, skew_nanos.clone())), skew_nanos, bound))
}

fn open_store(options: &ServeOptions) -> Result<Arc<dyn Engine>> {
    std::fs::create_dir_all(&options.data_dir).with_context(|| format!("creating {}", options.data_dir.display()))?;
    let rocks = RocksOptions {
        block_cache_bytes: options.cache_bytes - options.cache_bytes / 2,
        min_free_bytes: options.min_free_bytes,
        ..RocksOptions::default()
    };
    let engine =
        RocksEngine::open(&options.data_dir, &rocks).with_context(|| format!("opening the store in {}", options.data_dir.display()))?;
    Ok(Arc::new(engine))
}

async fn open_transport(options: &ServeOptions, clock: &Clock, entropy: &Entropy, tasks: &TaskGroup) -> Result<Arc<GrpcTransport>> {
    let latency = match &options.latency_matrix {
        None => LatencyMatrix::new(),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            LatencyMatrix::from_str(&text).with_context(|| format!("reading {}", file.display()))?
        }
    };
    let tls = options.certs_dir.as_ref().filter(|_| !options.insecure).map(|dir| tls_paths(dir));
    // A single node talks to nobody: any free loopback port will do.
    let listen = resolve(options.rpc_listen.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let region = options.locality.tier("region").unwrap_or_default().to_owned();
    let config = GrpcConfig { listen, region, latency, tls, limits: TransportLimits::default() };
    Ok(GrpcTransport::start(config, clock.clone(), entropy, tasks.clone()).await?)
}

/// The files of a certificates directory, for node-to-node TLS.
pub fn tls_paths(dir: &std::path::Path) -> TlsPaths {
    TlsPaths { authority: dir.join("ca.crt"), certificate: dir.join("node.crt"), key: dir.join("node.key"), server_name: None }
}

async fn resolve(address: &str) -> Result<SocketAddr> {
    let mut found = lookup_host(address).await.with_context(|| format!("resolving {address}"))?;
    found.next().with_context(|| format!("{address} has no address"))
}

async fn wait_for_clients(listener: &SqlListener) {
    let deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
    while listener.counters.connections.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first line of a password file.
fn read_password(file: &std::path::Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading root's password from {}", file.display()))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        bail!("{}: the first line should be root's password, but it is empty", file.display());
    }
    Ok(password.to_owned())
}

/// Gives root a password unless it has one: the way into a new secure cluster. Every node may be started with the same file, so that
/// whoever comes first does it; a password changed later by SQL is not touched.
async fn set_first_password(node: &Node, password: &str) {
    loop {
        let outcome = match node.database.password_verifier("root").await {
            Ok(Some(_)) => return,
            Ok(None) => node.database.set_password("root", password).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => return tracing::info!("root's first password was set"),
            Err(error) => tracing::debug!(%error, "root's password is not set yet"),
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// What HTTP tells of the node.
struct Status {
    node: Mutex<Option<(Arc<Node>, Arc<SqlListener>)>>,
    not_ready: Mutex<Option<String>>,
    engine: Arc<dyn Engine>,
    #[cfg(debug_assertions)]
    faults: crate::faults::Faults,
}

/// Finds out, again and again, whether SQL can be served.
async fn probe(status: Arc<Status>, node: Arc<Node>, root_password: Option<String>) {
    if let Some(password) = root_password {
        *status.not_ready.lock() = Some("root's password is not set yet".into());
        set_first_password(&node, &password).await;
    }
    loop {
        let outcome = tokio::time::timeout(Duration::from_secs(5), node.database.probe()).await;
        let verdict = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("the catalog cannot be read: {error}")),
            Err(_) => Some("the catalog cannot be read: no answer".to_owned()),
        };
        let ready = verdict.is_none();
        {
            let mut slot = status.not_ready.lock();
            if slot.as_deref() == Some("draining") {
                return;
            }
            *slot = verdict;
        }
        tokio::time::sleep(if ready { 10 * PROBE_INTERVAL } else { PROBE_INTERVAL }).await;
    }
}

impl NodeStatus for Status {
    fn not_ready(&self) -> Option<String> {
        self.not_ready.lock().clone()
    }

    fn check_replicas(&self) -> BoxFuture<'_, Option<ReplicaCheck>> {
        async move {
            let (node, _) = self.node.lock().clone()?;
            let mut check = ReplicaCheck::default();
            for descriptor in meridian_replication::api::RangeAdmin::leaseholder_ranges(&*node.store) {
                match node.store.check_replicas(descriptor.id).await {
                    Ok(report) => check.ranges.push(report),
                    Err(error) => check.unchecked.push((descriptor.id, error.to_string())),
                }
            }
            Some(check)
        }
        .boxed()
    }

    #[cfg(debug_assertions)]
    fn fault<'a>(&'a self, what: &'a str, query: &'a str) -> BoxFuture<'a, std::result::Result<String, String>> {
        let node = self.node.lock().as_ref().map(|(node, _)| node.clone());
        self.faults.carry_out(node, what, query).boxed()
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![];
        for (name, value) in self.engine.counters() {
            metrics.push(Metric::gauge(&format!("storage_{name}"), "A figure of the storage engine.", value));
        }
        let Some((node, listener)) = self.node.lock().clone() else { return metrics };
        let error = u64::try_from(node.store.clock_error().as_micros()).unwrap_or(u64::MAX);
        metrics.push(Metric::gauge("clock_error_micros", "The present bound on the error of this node's clock.", error));
        let placement = node.placement();
        metrics.push(Metric::gauge("node_id", "The id of this node in the cluster.", u64::from(node.id().0)));
        metrics.push(Metric::gauge(
            "ranges_idle",
            "Quiet ranges led here, whose closed timestamps are told by node.",
            node.store.idle_ranges() as u64,
        ));
        metrics.push(Metric::gauge("ranges_leaseholder", "Ranges whose lease this node holds.", placement.ranges));
        metrics.push(Metric::gauge(
            "ranges_underreplicated",
            "Of those, ranges with fewer replicas than wanted.",
            placement.under_replicated,
        ));
        metrics.push(Metric::gauge("ranges_impaired", "Of those, ranges with a replica on a node that is not live.", placement.impaired));
        metrics.push(Metric::gauge("ranges_unpublished", "Range addresses still to be published.", node.store.unpublished() as u64));
        let replicas = meridian_replication::api::RangeAdmin::replica_count(&*node.store);
        metrics.push(Metric::gauge("replicas", "Replicas on this node.", replicas));
        let follower_reads = node.kv.follower_reads();
        metrics.push(Metric::counter(
            "kv_follower_reads_total",
            "Reads in the past answered here without the leaseholder.",
            follower_reads,
        ));
        let remote = node.kv.remote_requests();
        metrics.push(Metric::counter("kv_remote_requests_total", "Requests sent to ranges that other nodes lead.", remote));
        let (replies, reply_micros) = node.kv.reply_waits();
        metrics.push(Metric::counter("txn_reply_waits_total", "Answers held back for the clock by the reply rule.", replies));
        metrics.push(Metric::counter("txn_reply_wait_microseconds_total", "Time that the reply rule held answers back.", reply_micros));
        let (validations, validation_micros) = node.kv.validations();
        let help = "Times that the reads of a transaction were validated at a later timestamp.";
        metrics.push(Metric::counter("txn_validations_total", help, validations));
        metrics.push(Metric::counter("txn_validation_microseconds_total", "Time that validating reads took.", validation_micros));
        let age = "Age of the oldest snapshot for which this node holds back the collection of old versions; 0: it does not.";
        metrics.push(Metric::gauge("txn_protected_age_seconds", age, node.kv.protected_age().as_secs()));
        let rows = "Memory that rows kept by leaseholders of this node take.";
        metrics.push(Metric::gauge("txn_row_cache_bytes", rows, node.kv.row_cache_bytes() as u64));
        if let Some(age) = node.kv.collection_horizon_age() {
            let help = "How far back the horizon of this node's last collection of old versions lies: the TTL, or more where a node protects something.";
            metrics.push(Metric::gauge("gc_horizon_age_seconds", help, age.as_secs()));
        }
        metrics.push(Metric::gauge("txn_live", "Transactions others may be waiting for.", node.kv.live_transactions() as u64));
        let wire = &listener.counters;
        metrics.push(Metric::gauge("sql_connections", "SQL clients now.", wire.connections.load(Ordering::Relaxed) as u64));
        metrics.push(Metric::counter("sql_connections_total", "SQL clients accepted.", wire.accepted.load(Ordering::Relaxed)));
        metrics.push(Metric::counter("sql_connections_refused_total", "SQL clients refused.", wire.refused.load(Ordering::Relaxed)));
        let failures = wire.authentication_failures.load(Ordering::Relaxed);
        metrics.push(Metric::counter("sql_authentication_failures_total", "Failed authentications.", failures));
        metrics.push(Metric::gauge("sql_cached_plans", "Plans in the cache.", node.database.cached_plans() as u64));
        let sql = &node.database.counters;
        for (name, help, counter) in [
            ("sql_statements_total", "Statements begun.", &sql.statements),
            ("sql_errors_total", "Statements that ended in an error.", &sql.errors),
            ("sql_retries_total", "Statements run again inside the server.", &sql.retries),
            ("sql_serialization_failures_total", "Serialization failures shown to clients.", &sql.serialization_failures),
            ("sql_plans_total", "Statements planned anew.", &sql.plans),
            ("sql_commits_total", "Transactions committed.", &sql.commits),
            ("sql_rollbacks_total", "Transactions rolled back.", &sql.rollbacks),
        ] {
            metrics.push(Metric::counter(name, help, counter.load(Ordering::Relaxed)));
        }
        for (cause, count) in sql.retries_by_cause.all() {
            let help = "Statements run again inside the server, by what called for it.";
            metrics.push(Metric::labelled("sql_retries_by_cause_total", help, ("cause", cause), count));
        }
        for (cause, count) in sql.conflicts_by_cause.all() {
            let help = "Serialization failures and deadlocks shown to clients, by cause.";
            metrics.push(Metric::labelled("sql_conflicts_by_cause_total", help, ("cause", cause), count));
        }
        metrics
    }
}
