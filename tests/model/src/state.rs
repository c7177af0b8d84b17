//! One state of the world. Fixed arrays of bytes: millions of these are kept.

use crate::scenario::{KEYS, NODES, RANGES, Scenario, TXNS};

/// Ticks. All times are small.
pub type Time = i8;
/// No transaction: the writer of the first version of every key.
pub const INITIAL: u8 = 0xff;
/// True time at the start, so that nothing is negative.
pub const BEGIN: Time = 10;
/// How far promises reach.
pub const PROMISE: Time = 3;

/// One version of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    pub ts: Time,
    pub writer: u8,
}

/// A key at its leaseholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    versions: [Version; TXNS + 2],
    count: u8,
    /// Writer and timestamp of an intent.
    pub intent: Option<Version>,
    /// Who holds the row lock.
    pub lock: Option<u8>,
    /// The timestamp cache, and the only reader at that timestamp (or [`INITIAL`]: several, or nobody).
    pub read_up_to: Time,
    pub reader: u8,
    /// How many versions a leaseholder that was cut off knows; 0 if it knew an intent and cannot answer.
    pub frozen: u8,
    /// Ghost: the highest timestamp of a read served, for each reader, and whether an earlier leaseholder served it.
    pub served: [(Time, bool); TXNS],
}

impl Key {
    /// Versions, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions[..self.count as usize]
    }

    /// The newest.
    pub fn newest(&self) -> Version {
        self.versions[self.count as usize - 1]
    }

    /// The newest at or below `ts`.
    pub fn as_of(&self, ts: Time) -> Version {
        *self.versions().iter().rev().find(|v| v.ts <= ts).unwrap_or(&self.versions[0])
    }

    /// Adds a version where its timestamp belongs.
    pub fn add(&mut self, version: Version) {
        if (self.count as usize) < self.versions.len() {
            self.versions[self.count as usize] = version;
            self.count += 1;
            self.versions[..self.count as usize].sort_by_key(|v| v.ts);
        }
    }

    /// A read at `ts` raises the timestamp cache.
    pub fn raise(&mut self, ts: Time, reader: u8) {
        match ts.cmp(&self.read_up_to) {
            std::cmp::Ordering::Greater => (self.read_up_to, self.reader) = (ts, reader),
            std::cmp::Ordering::Equal if reader != self.reader => self.reader = INITIAL,
            _ => {}
        }
    }

    /// The least timestamp at which `writer` may write.
    pub fn floor(&self, writer: u8) -> Time {
        let read = if self.reader == writer { self.read_up_to } else { self.read_up_to + 1 };
        read.max(self.newest().ts + 1)
    }
}

/// A transaction record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    None,
    Staging(Time),
    Committed(Time),
    Aborted,
}

/// How far a coordinator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    NotBegun,
    /// Before operation number so-and-so.
    Running(u8),
    /// Validating earlier reads at a newer snapshot, then on to operation number so-and-so.
    Moving(u8),
    /// Validating at the commit timestamp.
    Validating,
    /// Its commit requests are under way.
    Writing,
    /// Committed as far as it knows; the answer waits for the clock.
    Waiting,
    Answered,
    /// It gave up.
    Failed,
}

/// What a transaction saw of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub version: Version,
    pub locked: bool,
    pub written: bool,
    pub valid_at: Time,
}

/// A transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Txn {
    pub phase: Phase,
    pub dead: bool,
    /// True time of start and answer.
    pub started: Time,
    pub answered: Time,
    /// Who was answered before this one began, by bit: real time.
    pub after: u8,
    pub read_ts: Time,
    pub commit_ts: Time,
    /// The highest timestamp that its landings were pushed to.
    pub pushed_to: Time,
    pub seen: [Option<Seen>; KEYS],
    /// Requests on their way, by key: validations or intents.
    pub pending: u8,
    /// Intents that have not been asked for yet, by key.
    pub to_lay: u8,
    /// The staging request is on its way.
    pub staging_due: bool,
    /// The one-phase request is on its way.
    pub one_phase_due: bool,
    /// An answer said no.
    pub refused: bool,
    /// Intents have been laid or tried.
    pub laid: bool,
    /// The COMMITTED record is on its way.
    pub record_due: bool,
    /// Intents to be resolved, by key.
    pub to_resolve: u8,
    /// Intents that may still arrive a second time, by key.
    pub replayable: u8,
    pub status: Status,
    pub min_ts: Time,
    /// Ghost: what a pusher was promised: nothing of this transaction lies at or below it.
    pub promised: Time,
    /// Whoever recovers it: the staging asked about, the keys not asked yet, whether one was missing.
    pub recovery: Option<(Time, u8, bool)>,
}

impl Txn {
    /// Committed for the client, or by its record.
    pub fn took_effect(&self, read_only: bool) -> bool {
        matches!(self.status, Status::Committed(_)) || self.phase == Phase::Answered || (read_only && self.phase == Phase::Waiting)
    }
}

/// A range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Its leaseholder was cut off: no more promises come, and nothing can be written. The end of its lease.
    pub cut: Option<Time>,
    /// An earlier leaseholder still answers reads below this.
    pub old: Option<Time>,
    /// Where the present lease begins.
    pub low_water: Time,
}

/// Bits of [`State::broken`]: invariants that a step found violated.
pub mod ghost {
    /// A read served by one leaseholder, a landing at or below it at the same.
    pub const C2: u8 = 1;
    /// The same, at a later leaseholder.
    pub const L2: u8 = 2;
    /// Two leaseholders for one timestamp.
    pub const L1: u8 = 4;
    /// A final record was overwritten.
    pub const C6: u8 = 8;
    /// An intent was resolved before its record was final.
    pub const C5: u8 = 16;
    /// An answer before a timestamp that it depends on had passed.
    pub const T3: u8 = 32;
}

/// The world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub now: Time,
    pub offsets: [i8; NODES],
    pub keys: [Key; KEYS],
    pub ranges: [Range; RANGES],
    pub txns: [Txn; TXNS],
    pub crashes: u8,
    pub cuts: u8,
    pub moves: u8,
    pub replays: u8,
    pub broken: u8,
}

impl State {
    /// Nothing has happened.
    pub fn new(scenario: &Scenario, offsets: [i8; NODES]) -> State {
        let first = Version { ts: 0, writer: INITIAL };
        let key = Key {
            versions: [first; TXNS + 2],
            count: 1,
            intent: None,
            lock: None,
            read_up_to: 0,
            reader: INITIAL,
            frozen: 0,
            served: [(0, false); TXNS],
        };
        let txn = Txn {
            phase: Phase::NotBegun,
            dead: false,
            started: 0,
            answered: 0,
            after: 0,
            read_ts: 0,
            commit_ts: 0,
            pushed_to: 0,
            seen: [None; KEYS],
            pending: 0,
            to_lay: 0,
            staging_due: false,
            one_phase_due: false,
            refused: false,
            laid: false,
            record_due: false,
            to_resolve: 0,
            replayable: 0,
            status: Status::None,
            min_ts: 0,
            promised: 0,
            recovery: None,
        };
        State {
            now: BEGIN,
            offsets,
            keys: [key; KEYS],
            ranges: [Range { cut: None, old: None, low_water: 0 }; RANGES],
            txns: [txn; TXNS],
            crashes: scenario.crashes,
            cuts: scenario.cuts,
            moves: scenario.moves,
            replays: scenario.replays,
            broken: 0,
        }
    }

    /// `now().earliest` and `now().latest` of a node.
    pub fn clock(&self, scenario: &Scenario, node: u8) -> (Time, Time) {
        let (reading, epsilon) = (self.now + self.offsets[node as usize], scenario.epsilon as Time);
        (reading - epsilon, reading + epsilon)
    }

    /// Where the lease of a range ends: promises are renewed until its leaseholder is cut off.
    pub fn lease_end(&self, range: u8) -> Time {
        self.ranges[range as usize].cut.unwrap_or(self.now + PROMISE)
    }
}
