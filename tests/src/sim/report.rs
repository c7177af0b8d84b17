//! What a run came to; panics and virtual time, for whoever reads along.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Once;
use std::time::Duration;

use tokio::time::Instant;

use super::cluster::Cluster;
use super::plan::{Fault, Plan};
use super::{checker, tally};

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Notes panics of tasks, which the runtime would swallow, for the run on this thread.
pub fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

/// The panics on this thread since the last call.
pub fn panics() -> Vec<String> {
    PANICS.take()
}

pub(super) fn start_of_time() {
    START.set(Some(Instant::now()));
}

/// Virtual time since the start of the run on this thread, for log lines.
pub fn simulated_millis() -> u128 {
    let now = tokio::runtime::Handle::try_current().is_ok().then(Instant::now);
    now.zip(START.get()).map_or(0, |(now, start)| now.duration_since(start).as_millis())
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// Everything that was wrong; empty is good.
    pub wrong: Vec<String>,
    /// Simulated time.
    pub simulated: Duration,
    /// Attempts that were acknowledged, whose outcome stayed unknown, and that did not commit.
    pub attempts: (usize, usize, usize),
    /// What the nemesis did, by number.
    pub strikes: Vec<(u64, Fault)>,
    /// Reads in the past.
    pub pasts: usize,
    /// Versions that were collected, and transactions that were open for longer than the TTL and committed.
    pub collected: (usize, usize),
    /// Leases seen.
    pub leases: u64,
    /// Of everything that the network did and every client saw.
    pub trace_hash: u64,
    /// Each packet, if asked for.
    pub trace: Vec<String>,
}

impl Report {
    pub(super) fn failed(plan: Plan, what: String) -> Self {
        Report {
            plan,
            wrong: vec![what],
            simulated: Duration::ZERO,
            attempts: (0, 0, 0),
            strikes: Vec::new(),
            pasts: 0,
            collected: (0, 0),
            leases: 0,
            trace_hash: 0,
            trace: Vec::new(),
        }
    }

    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut trace_hash = cluster.network.trace_hash();
        for record in cluster.history.records() {
            let line = format!("{} {:?}", checker::story(&record), record.ops);
            trace_hash = line.bytes().fold(trace_hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        }
        Report {
            plan: cluster.plan.clone(),
            wrong: cluster.wrong.lock().clone(),
            simulated: cluster.origin.elapsed(),
            attempts: tally(cluster),
            strikes: cluster.strikes.lock().clone(),
            pasts: cluster.notes.pasts(),
            collected: (cluster.collected(), cluster.plan.ttl.map_or(0, |ttl| cluster.history.longer_than(ttl))),
            leases: cluster.observer.lock().leases_seen,
            trace_hash,
            trace: cluster.network.trace(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (committed, unknown, failed) = self.attempts;
        let seed = self.plan.seed;
        write!(
            f,
            "seed {seed}: {} nodes, {:?}, {:.1} s, {committed} committed, {unknown} unknown, {failed} not, {} looks back, {} leases, {} strikes, trace {:016x}",
            self.plan.nodes,
            self.plan.faults,
            self.simulated.as_secs_f64(),
            self.pasts,
            self.leases,
            self.strikes.len(),
            self.trace_hash
        )?;
        if let Some(ttl) = self.plan.ttl {
            let (versions, outlived) = self.collected;
            write!(f, ", TTL {} ms: {versions} versions collected, {outlived} transactions outlived it", ttl.as_millis())?;
        }
        for what in &self.wrong {
            write!(f, "\n  ✗ {what}")?;
        }
        Ok(())
    }
}
