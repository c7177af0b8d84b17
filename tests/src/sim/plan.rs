//! What one seed stands for: the shape of the cluster, its settings, and which faults it meets.
//!
//! Swarm testing: each seed enables a random subset of the faults, so that some runs meet one fault only, often, and others all of them. A run with everything
//! enabled all the time hides bugs behind each other.

use std::time::Duration;

use meridian_clock::{Entropy, Rng};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process dies: unsynced writes are lost, the last may be torn; it starts again later.
    Crash,
    /// All processes die at about the same time.
    CrashAll,
    /// A process is stopped and goes on: nothing reaches it or leaves it.
    Pause,
    /// Two groups do not hear each other.
    Partition,
    /// One direction between two nodes is cut.
    OneWay,
    /// A node is cut off.
    Isolate,
    /// A link comes and goes.
    Flap,
    /// Messages vanish.
    Loss,
    /// Messages arrive twice, the second time late.
    Replay,
    /// A link becomes slow.
    Slow,
    /// Clocks move within their bounds.
    Skew,
    /// Syncs take long.
    DiskStall,
    /// No space for the log.
    DiskFull,
    /// Leases are moved.
    LeaseMove,
    /// Ranges are split.
    Split,
    /// Replicas move between nodes.
    Membership,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 16] = [
        Fault::Crash,
        Fault::CrashAll,
        Fault::Pause,
        Fault::Partition,
        Fault::OneWay,
        Fault::Isolate,
        Fault::Flap,
        Fault::Loss,
        Fault::Replay,
        Fault::Slow,
        Fault::Skew,
        Fault::DiskStall,
        Fault::DiskFull,
        Fault::LeaseMove,
        Fault::Split,
        Fault::Membership,
    ];
}

/// Everything about a run that its seed decides before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Nodes in the cluster.
    pub nodes: usize,
    /// Regions that they are spread over.
    pub regions: usize,
    /// Voters per range.
    pub replication_factor: usize,
    /// The error that each node's clock declares. True skew stays within it.
    pub clock_errors: Vec<Duration>,
    /// One-way delay within a region, and jitter.
    pub delay: Duration,
    /// See `delay`.
    pub jitter: Duration,
    /// Round trip between regions.
    pub between_regions: Duration,
    /// What a sync takes when nothing is wrong.
    pub sync_time: Duration,
    /// Which faults happen.
    pub faults: Vec<Fault>,
    /// Mean time between two of them.
    pub fault_every: Duration,
    /// How long faults go on.
    pub duration: Duration,
    /// Clients per gateway.
    pub clients: usize,
    /// Longest pause of a client between two transactions.
    pub think: Duration,
    /// Lists, registers and accounts each.
    pub keys: usize,
    /// Log entries kept for followers that lag: few means snapshots.
    pub log_keep_entries: u64,
    /// Between two flushes of applied state.
    pub flush_interval: Duration,
    /// Ranges larger than this split by themselves.
    pub range_max_bytes: u64,
    /// Tasks that share the ranges.
    pub workers: usize,
}

impl Plan {
    /// The plan of `seed`. `nodes` fixes their number.
    pub fn of(seed: u64, nodes: Option<usize>) -> Plan {
        let mut rng = Entropy::seeded(seed).fork("plan").rng();
        let drawn = if rng.random_bool(0.7) { 3 } else { 5 };
        let nodes = nodes.unwrap_or(drawn);
        let regions = if rng.random_bool(0.5) { 1 } else { 3 };
        let replication_factor = if nodes >= 5 && rng.random_bool(0.3) { 5 } else { 3 };
        let clock_errors = clock_errors(&mut rng, nodes);
        let share = *[0.0, 0.1, 0.25, 0.5].choose(&mut rng).unwrap_or(&0.25);
        let faults = Fault::ALL.into_iter().filter(|_| rng.random_bool(share)).collect();
        Plan {
            seed,
            nodes,
            regions,
            replication_factor,
            clock_errors,
            delay: millis(&mut rng, 0..=2),
            jitter: millis(&mut rng, 0..=3),
            between_regions: millis(&mut rng, 4..=60),
            sync_time: millis(&mut rng, 0..=3),
            faults,
            fault_every: millis(&mut rng, 150..=1500),
            duration: millis(&mut rng, 4000..=7000),
            clients: rng.random_range(1..=3),
            think: millis(&mut rng, 5..=120),
            keys: rng.random_range(2..=8),
            log_keep_entries: *[20, 200, 10_000].choose(&mut rng).unwrap_or(&200),
            flush_interval: millis(&mut rng, 300..=5000),
            range_max_bytes: if rng.random_bool(0.3) { rng.random_range(20_000..200_000) } else { 64 << 20 },
            workers: rng.random_range(1..=3),
        }
    }
}

fn millis(rng: &mut Rng, of: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.random_range(of))
}

/// One shared clock, one bound for all, or a bound for each.
fn clock_errors(rng: &mut Rng, nodes: usize) -> Vec<Duration> {
    let bounds = [Duration::from_micros(300), Duration::from_millis(2), Duration::from_millis(10), Duration::from_millis(60)];
    match rng.random_range(0..3) {
        0 => vec![Duration::ZERO; nodes],
        1 => vec![*bounds.choose(rng).unwrap_or(&bounds[0]); nodes],
        _ => (0..nodes).map(|_| *bounds.choose(rng).unwrap_or(&bounds[0])).collect(),
    }
}
