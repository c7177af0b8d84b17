//! What one seed stands for: the shape of the cluster, its settings, and which faults it meets.
//!
//! Swarm testing: each seed enables a random subset of the faults, so that some runs meet one fault only, often, and others all of them. A run with everything
//! enabled all the time hides bugs behind each other.

use std::fmt;
use std::time::Duration;

use meridian_clock::controls::Control;
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
    /// Every node hears a majority, no two the same one.
    MajorityRing,
    /// All links scatter, so that streams overtake each other.
    Reorder,
    /// A clock jumps from one end of its bound to the other and back, many times.
    Jump,
    /// A clock stands still for as long as its bound covers that.
    Freeze,
    /// A clock leaves its bound by far: its node must be shut out, and is restarted with the right time.
    Lie,
    /// A bit of a version or intent flips on one disk, and flips back later: it may be reported, never served.
    Corrupt,
    /// A gateway dies in the middle of a commit, with a slow link to one of the others, and is back at once.
    CrashCommitting,
    /// All leases move, again and again.
    LeaseStorm,
    /// One leaseholder is cut off, whichever ranges it serves.
    IsolateLeader,
    /// The disk has no room for more than it holds.
    DiskQuota,
    /// One direction of a link takes seconds.
    Crawl,
    /// What is committed cannot be applied for lack of space, on one node, while its log goes on.
    ApplyFull,
    /// A gateway stops in the middle of a commit, with a part of it still on a slow link, for long enough that others settle it.
    PauseCommitting,
    /// A connection for requests stalls in one direction, while everything else between the two nodes goes on.
    StreamStall,
    /// The last part of a commit is held by a stalled connection while its gateway stops for about as long as others need to settle it.
    HeldCommit,
    /// A gateway dies when it has told one of two ranges that its commit is through, and cannot reach the other.
    CrashResolving,
    /// A range splits while the disk of its leaseholder stalls: the others have applied the split long before it.
    StalledSplit,
}

impl Fault {
    /// Those of the first generation of plans.
    const FIRST: [Fault; 16] = [
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
    /// Those that came later.
    const SECOND: [Fault; 12] = [
        Fault::MajorityRing,
        Fault::Reorder,
        Fault::Jump,
        Fault::Freeze,
        Fault::Lie,
        Fault::Corrupt,
        Fault::CrashCommitting,
        Fault::LeaseStorm,
        Fault::IsolateLeader,
        Fault::DiskQuota,
        Fault::Crawl,
        Fault::ApplyFull,
    ];

    /// Those that came after that.
    const THIRD: [Fault; 1] = [Fault::PauseCommitting];

    /// Those that came last: aimed at what one mechanism alone prevents.
    const FOURTH: [Fault; 4] = [Fault::StreamStall, Fault::HeldCommit, Fault::CrashResolving, Fault::StalledSplit];

    /// The fault named so (as `Debug` prints it, in any case).
    pub fn named(name: &str) -> Option<Fault> {
        let all = Fault::FIRST.into_iter().chain(Fault::SECOND).chain(Fault::THIRD).chain(Fault::FOURTH);
        all.into_iter().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(name))
    }
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
    /// All workloads and faults, or only those of the first generation (for seeds found then).
    pub wide: bool,
    /// Where ranges are split at the beginning, beside between the first workloads. In the middle of a workload: its transactions span ranges.
    pub splits: Vec<&'static str>,
    /// Share of transactions that take their time between two operations.
    pub slow_share: f64,
    /// Old versions are collected after so long, so that slow transactions need theirs protected; `None`: never within a run.
    pub ttl: Option<Duration>,
    /// Only these strikes of the nemesis happen, by number; `None`: all.
    pub strikes: Option<Vec<u64>>,
    /// Mechanisms that are switched off.
    pub controls: Vec<Control>,
    /// What was asked for instead of what the seed says.
    pub overrides: Overrides,
}

/// What a run shall have instead of what its seed says: for campaigns with one fault, for controls, and for replays of runs made smaller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Number of nodes.
    pub nodes: Option<usize>,
    /// Which faults.
    pub faults: Option<Vec<Fault>>,
    /// Which strikes of the nemesis.
    pub strikes: Option<Vec<u64>>,
    /// Clients per gateway.
    pub clients: Option<usize>,
    /// How long faults and clients go on, in milliseconds.
    pub millis: Option<u64>,
    /// Lists, registers and accounts each.
    pub keys: Option<usize>,
    /// Share of slow transactions.
    pub slow: Option<f64>,
    /// Old versions are collected after so many milliseconds; 0: never.
    pub ttl: Option<u64>,
    /// The error that every clock declares, in milliseconds.
    pub clock_error: Option<u64>,
    /// Only the faults and workloads of the first generation.
    pub narrow: bool,
    /// Without the faults of the fourth generation, for seeds found before.
    pub early: bool,
    /// Mechanisms switched off.
    pub controls: Vec<Control>,
}

impl fmt::Display for Overrides {
    /// As options of `scripts/verify simulate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(",") };
        if let Some(nodes) = self.nodes {
            write!(f, " --nodes {nodes}")?;
        }
        if let Some(faults) = &self.faults {
            write!(f, " --faults {}", list(faults.iter().map(|fault| format!("{fault:?}")).collect()))?;
        }
        if let Some(strikes) = &self.strikes {
            write!(f, " --strikes {}", list(strikes.iter().map(u64::to_string).collect()))?;
        }
        if let Some(clients) = self.clients {
            write!(f, " --clients {clients}")?;
        }
        if let Some(millis) = self.millis {
            write!(f, " --millis {millis}")?;
        }
        if let Some(keys) = self.keys {
            write!(f, " --keys {keys}")?;
        }
        if let Some(slow) = self.slow {
            write!(f, " --slow {slow}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, " --ttl {ttl}")?;
        }
        if let Some(error) = self.clock_error {
            write!(f, " --clock-error {error}")?;
        }
        if self.narrow {
            write!(f, " --narrow")?;
        }
        if self.early {
            write!(f, " --early")?;
        }
        self.controls.iter().try_for_each(|control| write!(f, " --without {control:?}"))
    }
}

impl Plan {
    /// The plan of `seed`.
    pub fn of(seed: u64) -> Plan {
        Plan::with(seed, Overrides::default())
    }

    /// The plan of `seed`, changed.
    pub fn with(seed: u64, overrides: Overrides) -> Plan {
        let mut rng = Entropy::seeded(seed).fork("plan").rng();
        let drawn = if rng.random_bool(0.7) { 3 } else { 5 };
        let nodes = overrides.nodes.unwrap_or(drawn);
        let regions = if rng.random_bool(0.5) { 1 } else { 3 };
        let replication_factor = if nodes >= 5 && rng.random_bool(0.3) { 5 } else { 3 };
        let drawn = clock_errors(&mut rng, nodes);
        let clock_errors = overrides.clock_error.map_or(drawn, |error| vec![Duration::from_millis(error); nodes]);
        let share = *[0.0, 0.1, 0.25, 0.5].choose(&mut rng).unwrap_or(&0.25);
        let mut faults: Vec<Fault> = Fault::FIRST.into_iter().filter(|_| rng.random_bool(share)).collect();
        // What came later has its own source of choices, so that seeds of the first generation keep their meaning.
        let mut later = Entropy::seeded(seed).fork("plan, second generation").rng();
        let wide = !overrides.narrow;
        faults.extend(Fault::SECOND.into_iter().filter(|_| later.random_bool(share) && wide));
        let mut last = Entropy::seeded(seed).fork("plan, faults of the third generation").rng();
        faults.extend(Fault::THIRD.into_iter().filter(|_| last.random_bool(share) && wide));
        let mut aimed = Entropy::seeded(seed).fork("plan, faults of the fourth generation").rng();
        faults.extend(Fault::FOURTH.into_iter().filter(|_| aimed.random_bool(share) && wide && !overrides.early));
        let mut slow_share = *[0.0, 0.03, 0.2].choose(&mut later).unwrap_or(&0.0);
        let middles = ["bank/01", "list/01", "register/01", "skew/z", "fork/02", "comment/02"];
        let mut splits: Vec<&str> = middles.into_iter().filter(|_| later.random_bool(0.5)).collect();
        splits.extend(["comment/", "fork/", "skew/"].into_iter().filter(|_| later.random_bool(0.5)));
        splits.retain(|_| wide);
        let faults = overrides.faults.clone().unwrap_or(faults);
        let ttl = ttl(seed, &overrides, &faults);
        if ttl.is_some() && slow_share == 0.0 {
            slow_share = 0.1;
        }
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
            duration: or(overrides.millis.map(Duration::from_millis), millis(&mut rng, 4000..=7000)),
            clients: or(overrides.clients, rng.random_range(1..=3)),
            think: millis(&mut rng, 5..=120),
            keys: or(overrides.keys, rng.random_range(2..=8)),
            log_keep_entries: *[20, 200, 10_000].choose(&mut rng).unwrap_or(&200),
            flush_interval: millis(&mut rng, 300..=5000),
            range_max_bytes: if rng.random_bool(0.3) { rng.random_range(20_000..200_000) } else { 64 << 20 },
            workers: rng.random_range(1..=3),
            wide,
            splits,
            slow_share: if wide { or(overrides.slow, slow_share) } else { 0.0 },
            ttl,
            strikes: overrides.strikes.clone(),
            controls: overrides.controls.clone(),
            overrides,
        }
    }

    /// Whether each gateway has a client more, whose transactions the aimed faults are aimed at. Seeds without those faults go on as ever.
    pub fn relays(&self) -> bool {
        [Fault::StreamStall, Fault::HeldCommit, Fault::CrashResolving].iter().any(|fault| self.faults.contains(fault))
    }

    /// The command that runs it again.
    pub fn replay(&self) -> String {
        format!("scripts/verify simulate --seed {}{} --log info", self.seed, self.overrides)
    }
}

/// What was asked for, or what was drawn (and drawn in any case).
fn or<T>(asked: Option<T>, drawn: T) -> T {
    asked.unwrap_or(drawn)
}

/// Drawn apart from everything else, for seeds of before. Not beside clocks that lie: nobody keeps old versions from a collector that lives in the future.
fn ttl(seed: u64, overrides: &Overrides, faults: &[Fault]) -> Option<Duration> {
    let mut rng = Entropy::seeded(seed).fork("plan, third generation").rng();
    let drawn = rng.random_range(800..3000);
    let drawn = if rng.random_bool(0.25) && !overrides.narrow { drawn } else { 0 };
    let millis = overrides.ttl.unwrap_or(drawn);
    (millis > 0 && !faults.contains(&Fault::Lie)).then(|| Duration::from_millis(millis))
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
