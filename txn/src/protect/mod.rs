//! Open transactions keep what they read: snapshots older than the TTL of old versions.
//!
//! Versions older than the TTL are collected, so a read older than that may miss some and is refused (`55000`). A transaction that is open for
//! longer is *protected* instead: its node writes a row that every collector looks at.
//!
//! ```text
//!   0x02 'p' ‖ node u32      { timestamp, until }: up to `until` nothing that a read at or above `timestamp` sees is removed
//!
//!   age of the oldest        0 ──────── TTL/2 ─────────── TTL ───────────────────── --snapshot-age-max
//!   open snapshot of a node     nothing       row written;    readable because of        55000; the row moves on
//!                               to do         renewed         the row
//! ```
//! Only nodes with such transactions write; one row a node, moved up as its oldest transactions end and removed with the last. A row that is not
//! renewed lapses (its node is dead, or cannot reach the row), and collectors remove it. So a dead node holds nothing back for longer than
//! [`VALID_MAX`], and a node that is cut off refuses by its own clock before anybody collects.
//!
//! **The rules.** Times are intervals that contain true time ([`ClockInterval`]).
//! * *Collector:* takes `now`, **then** reads all rows in one strictly serializable read (no rows, no collection). The horizon is the least of
//!   `now.earliest − TTL − slack` and the timestamps of all rows but those that have lapsed: `now.earliest > until + slack`.
//! * *Node:* holds `(floor, until)` in memory. Before it tries to write a row it raises the floor to the row's timestamp. When the
//!   write is acknowledged, at `A`, the floor becomes the greater of the row's timestamp and `A.latest − TTL`, or stays (raised to the row's
//!   timestamp) if that is lower and `A.latest ≤` the old `until`. `until` becomes the row's, which never goes back while one is held.
//! * *Reads:* the answer to a read at `r` counts only if, **after** it has arrived, `r ≥ now.latest − TTL`, or `floor ≤ r` and
//!   `now.latest < until`. (Looked at before the request too, to spare the way.)
//!
//! **Why no read misses a version.** Let a read at `r` be allowed at true time `T`. What could have removed something that it should have seen is
//! a collection with a horizon above `r` whose rows were read before `T`; its `now`, taken at a true time `N`, has `earliest ≤ N < T`.
//! 1. `r ≥ now.latest − TTL`: that is at least `T − TTL > N − TTL`, so the horizon is below `r`.
//! 2. Else let `A` be the last acknowledgement that set the floor by `A.latest − TTL`; later ones only raised it, each before the `until` of the one
//!    before had passed. *The rows were read before `A`:* `N < A ≤ A.latest`, so the horizon is below `A.latest − TTL`, which is at most the
//!    floor, and so at most `r`.
//! 3. *They were read after `A`:* then this node's row is among them, for nobody else touches it before it has lapsed. It was acknowledged at or
//!    after `A`, or its write was at least tried by then; either way the floor was raised to its timestamp first, which is therefore at most `r`.
//!    And it has not lapsed for this collector: the next acknowledgement, if one came before `T`, came after the rows were read, so
//!    after `N`, and not later than this row's `until`; if none came, `N < T ≤ now.latest < until`. So the horizon is at most `r`.
//!
//! A commit looks at old versions, too: it asks whether what it read still holds at its own timestamp (C3). The same look follows each such answer. Where
//! the question is part of a landing, in one step with it, the landing lies above `now.latest − TTL` of its leaseholder, by arm 1.
//!
//! The slack is not used in this argument: it is what a clock a little out of its bounds is forgiven. A write whose outcome is not known
//! changes nothing in it: the floor is at or above both rows, `until` at or below both. All nodes must have the same TTL.
//!
//! READ COMMITTED counts with the snapshot of its last statement (nobody says when a statement's cursors are done with); reads in the past
//! (`AS OF SYSTEM TIME`) with theirs, so one that is newer than the TTL at its beginning may stay open as any other.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::controls::{self, Control};
use meridian_clock::{Clock, ClockInterval, Timestamp};
use meridian_replication::api::{NodeId, SystemError, SystemKv};
use meridian_storage::key::CLUSTER_PREFIX;
use meridian_storage::{Key, Span, mvcc};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A row counts for at most so long without being renewed.
const VALID_MAX: Duration = Duration::from_secs(300);
/// How much longer than the TTL versions stay, and rows count, at most.
const SLACK_MAX: Duration = Duration::from_secs(30);
/// Tries at a row that turned out to be another than the one expected.
const TRIES_MAX: u32 = 4;

/// Where the protections of all nodes are.
fn span() -> Span {
    Span::prefix(vec![CLUSTER_PREFIX, b'p'])
}

fn key(node: NodeId) -> Key {
    let mut key = vec![CLUSTER_PREFIX, b'p'];
    key.extend_from_slice(&node.0.to_be_bytes());
    key.into()
}

/// What a node protects, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// Reads at and above this stay possible.
    timestamp: Timestamp,
    /// Up to this.
    until: Timestamp,
}

impl Row {
    fn encode(&self) -> Bytes {
        [self.timestamp, self.until].map(|at| at.as_raw().to_be_bytes()).concat().into()
    }

    fn decode(bytes: &[u8]) -> Result<Row, SystemError> {
        let at = |bytes: &[u8]| Some(Timestamp::from_raw(u64::from_be_bytes(bytes.try_into().ok()?)));
        let halves = bytes.split_at_checked(8).and_then(|(first, second)| Some((at(first)?, at(second)?)));
        let (timestamp, until) = halves.ok_or_else(|| SystemError(format!("not a protected timestamp: {bytes:02x?}")))?;
        Ok(Row { timestamp, until })
    }
}

/// The times that the rules speak of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Versions younger than this are never collected.
    pub ttl: Duration,
    /// The age at which a protected snapshot is given up. Not above the TTL: nothing is ever protected.
    pub age_max: Duration,
}

impl Rules {
    fn slack(&self) -> Duration {
        (self.ttl / 8).min(SLACK_MAX)
    }

    /// How long a row counts. With the half of the TTL in which it is first written, short enough for a TTL of seconds, too.
    fn valid(&self) -> Duration {
        (self.ttl / 2).min(VALID_MAX)
    }

    /// How often a node looks at its open transactions.
    fn look_every(&self) -> Duration {
        self.valid() / 8
    }

    fn lapsed(&self, row: &Row, now: ClockInterval) -> bool {
        now.earliest > row.until.plus(self.slack())
    }

    /// Below this everything may be collected. `now` was taken before `rows` were read.
    fn horizon(&self, now: ClockInterval, rows: &[Row]) -> Timestamp {
        let count = |row: &&Row| !self.lapsed(row, now) && !controls::off(Control::Protection);
        mvcc::collection_horizon(now.earliest, self.ttl + self.slack(), rows.iter().filter(count).map(|row| row.timestamp))
    }
}

/// What this node may rely on: no collection removes what a read at or above `floor` sees, up to `until`.
#[derive(Clone, Copy, Debug)]
struct Held {
    floor: Timestamp,
    until: Timestamp,
}

/// The open snapshots of a node, and what it holds for them.
#[derive(Debug, Default)]
struct State {
    /// How many transactions read at each timestamp.
    open: BTreeMap<Timestamp, usize>,
    held: Option<Held>,
    /// A row of this process may be there.
    stored: bool,
}

impl State {
    fn held(&self, now: ClockInterval) -> Option<Held> {
        self.held.filter(|held| now.latest < held.until)
    }

    fn allows(&self, rules: &Rules, at: Timestamp, now: ClockInterval) -> bool {
        let kept = |held: Held| at >= held.floor && at >= now.latest.minus(rules.age_max);
        at >= now.latest.minus(rules.ttl) || self.held(now).is_some_and(kept)
    }

    /// The row to write now (`Some(None)`: to remove), if there is something to do. The floor is raised already.
    fn plan(&mut self, rules: &Rules, now: ClockInterval) -> Option<Option<Row>> {
        // What is older than this is lost, or given up.
        let by_age = now.latest.minus(rules.ttl);
        let reach = self.held(now).map_or(by_age, |held| held.floor.min(by_age)).max(now.latest.minus(rules.age_max));
        let old = |at: &Timestamp| *at < now.latest.minus(rules.ttl / 2) && rules.age_max > rules.ttl;
        let Some(oldest) = self.open.range(reach..).next().map(|(at, _)| *at).filter(old) else {
            self.held = None;
            return self.stored.then_some(None);
        };
        let mut until = now.latest.plus(rules.valid());
        if let Some(held) = &mut self.held {
            if oldest >= held.floor && held.until >= now.latest.plus(rules.valid() * 3 / 4) {
                return None;
            }
            until = until.max(held.until);
            held.floor = held.floor.max(oldest);
        }
        self.stored = true;
        Some(Some(Row { timestamp: oldest, until }))
    }

    /// A planned write was acknowledged; `now` was taken after that.
    fn acknowledged(&mut self, rules: &Rules, row: Option<Row>, now: ClockInterval) {
        let Some(row) = row else {
            self.stored = false;
            return;
        };
        let by_age = row.timestamp.max(now.latest.minus(rules.ttl));
        let floor = match self.held {
            Some(held) if now.latest <= held.until => by_age.min(held.floor.max(row.timestamp)),
            _ => by_age,
        };
        self.held = Some(Held { floor, until: row.until });
    }
}

/// Removes rows that have lapsed. If its node has written another one meanwhile, that stays.
pub(crate) async fn remove(kv: &dyn SystemKv, lapsed: Vec<(Key, Bytes)>) -> Result<(), SystemError> {
    for (key, value) in lapsed {
        kv.compare_and_set(key, Some(value), None).await?;
    }
    Ok(())
}

/// The open snapshots of one node, protected.
#[derive(Debug)]
pub(crate) struct Protection {
    rules: Rules,
    state: Mutex<State>,
    /// A snapshot has just been opened that will not wait for the next look.
    urgent: Notify,
    /// Of the last collection on this node (raw); 0: none yet.
    horizon: AtomicU64,
}

impl Protection {
    /// With nothing open.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Protection { rules, state: Mutex::default(), urgent: Notify::new(), horizon: AtomicU64::new(0) })
    }

    /// A transaction begins that reads at `at`; `latest` is the present.
    pub fn open(self: &Arc<Self>, at: Timestamp, latest: Timestamp) -> Open {
        *self.state.lock().open.entry(at).or_default() += 1;
        let expires = latest.minus(self.rules.ttl);
        if at >= expires && at < expires.plus(self.rules.look_every() * 2) {
            self.urgent.notify_one();
        }
        Open { of: self.clone(), at }
    }

    /// Whether what was read at `at` is what was there then. `now` is to be taken after the answer has come.
    pub fn allows(&self, at: Timestamp, now: ClockInterval) -> bool {
        // The common case, without the lock.
        at >= now.latest.minus(self.rules.ttl) || self.state.lock().allows(&self.rules, at, now)
    }

    /// Why a read at `at` is refused, in words; `begun`: when its transaction began.
    pub fn refusal(&self, at: Timestamp, begun: Timestamp, now: ClockInterval) -> String {
        let (ttl, age_max) = (self.rules.ttl, self.rules.age_max);
        let why = if begun.minus(ttl) > at {
            String::new()
        } else if at < now.latest.minus(age_max) || age_max <= ttl {
            let most = age_max.max(ttl).as_secs();
            format!(", and open transactions keep theirs for at most {most} seconds (--snapshot-age-max)")
        } else {
            ", and this node could not have those of its open transactions kept in time".into()
        };
        format!("cannot read at {at}: versions older than {} seconds may have been collected{why}", ttl.as_secs())
    }

    /// How far back this node holds collection for its open transactions; zero if it does not.
    pub fn age(&self, now: ClockInterval) -> Duration {
        self.state.lock().held(now).map_or(Duration::ZERO, |held| now.latest.since(held.floor))
    }

    /// How far back the horizon of this node's last collection lies; `None` before the first.
    pub fn horizon_age(&self, now: ClockInterval) -> Option<Duration> {
        let horizon = self.horizon.load(Ordering::Relaxed);
        (horizon > 0).then(|| now.latest.since(Timestamp::from_raw(horizon)))
    }

    /// The horizon of a collection that begins now, and rows that have lapsed, to be removed when it is through.
    pub async fn horizon(&self, kv: &dyn SystemKv, clock: &Clock) -> Result<(Timestamp, Vec<(Key, Bytes)>), SystemError> {
        // First the time, then the rows.
        let now = clock.now();
        let stored = kv.scan(span()).await?;
        let rows = stored.iter().map(|(_, value)| Row::decode(value)).collect::<Result<Vec<Row>, _>>()?;
        let horizon = self.rules.horizon(now, &rows);
        self.horizon.store(horizon.as_raw(), Ordering::Relaxed);
        let lapsed = stored.into_iter().zip(&rows).filter(|(_, row)| self.rules.lapsed(row, now)).map(|(stored, _)| stored);
        Ok((horizon, lapsed.collect()))
    }

    /// Keeps the row of `node` as its open transactions want it, for ever.
    pub async fn keep(self: Arc<Self>, node: NodeId, kv: Arc<dyn SystemKv>, clock: Clock) {
        let mut keeper = Keeper { protection: self, key: key(node), kv, clock, known: None };
        loop {
            tokio::select! {
                biased;
                () = keeper.protection.urgent.notified() => {}
                () = tokio::time::sleep(keeper.protection.rules.look_every()) => {}
            }
            if let Err(error) = keeper.look().await {
                tracing::warn!(%error, "the versions that old transactions of this node read are not protected; tried again");
            }
        }
    }
}

/// Writes a node's row.
struct Keeper {
    protection: Arc<Protection>,
    key: Key,
    kv: Arc<dyn SystemKv>,
    clock: Clock,
    /// What is stored, if that is known.
    known: Option<Option<Bytes>>,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), SystemError> {
        for _ in 0..TRIES_MAX {
            let rules = &self.protection.rules;
            let Some(row) = self.protection.state.lock().plan(rules, self.clock.now()) else { return Ok(()) };
            let (stored, new) = match self.known.take() {
                Some(stored) => (stored, row.map(|row| row.encode())),
                None => (self.kv.get(self.key.clone()).await?, row.map(|row| row.encode())),
            };
            if stored == new || self.kv.compare_and_set(self.key.clone(), stored, new.clone()).await? {
                self.known = Some(new);
                self.protection.state.lock().acknowledged(rules, row, self.clock.now());
                return Ok(());
            }
        }
        Err(SystemError("the row of this node keeps changing".into()))
    }
}

/// A snapshot that a transaction reads at, until dropped.
#[derive(Debug)]
pub(crate) struct Open {
    of: Arc<Protection>,
    at: Timestamp,
}

impl Open {
    /// The transaction reads at `at` from here on.
    pub fn move_to(&mut self, at: Timestamp) {
        let mut state = self.of.state.lock();
        close(&mut state.open, self.at);
        *state.open.entry(at).or_default() += 1;
        self.at = at;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        close(&mut self.of.state.lock().open, self.at);
    }
}

fn close(open: &mut BTreeMap<Timestamp, usize>, at: Timestamp) {
    if let Some(count) = open.get_mut(&at) {
        *count -= 1;
        if *count == 0 {
            open.remove(&at);
        }
    }
}
