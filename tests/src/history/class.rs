//! Names of anomalies: Adya's and Elle's, and the everyday ones where a cycle has a famous shape.

use super::index::Index;
use super::story::{Because, Step};

/// What kind of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Two writes of one key carry one value: the workload is at fault.
    NotUnique,
    /// A value that nobody wrote.
    Garbage,
    /// An element twice in a list.
    Duplicate,
    /// Two reads of a list, neither a beginning of the other.
    IncompatibleOrder,
    /// A transaction disagrees with itself.
    Internal,
    /// A value of a transaction that did not commit.
    G1a,
    /// A value that its own writer replaced before it committed.
    G1b,
    /// The money does not add up.
    WrongTotal,
    /// A cycle of ww.
    G0,
    /// A cycle of ww and wr.
    G1c,
    /// Two transactions replaced the same version of a key.
    LostUpdate,
    /// An acknowledged append that a later read does not see, and no other either.
    LostAppend,
    /// One rw: read skew.
    GSingle,
    /// Two transactions each read what the other one wrote.
    WriteSkew,
    /// Two readers saw two writes in opposite orders.
    LongFork,
    /// Several rw.
    G2Item,
    /// Several rw, of predicates: phantoms.
    G2,
    /// A later transaction does not see an acknowledged write.
    StaleRead,
    /// The later of two writes is seen without the earlier.
    CausalReverse,
    /// A client saw time run backwards.
    NonMonotonic,
    /// A cycle with the order within clients.
    Sequential,
    /// ww against real time.
    G0Realtime,
    /// wr against real time.
    G1cRealtime,
    /// One rw, and real time.
    GSingleRealtime,
    /// Several rw, and real time.
    G2Realtime,
}

impl Class {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Class::NotUnique => "values not unique",
            Class::Garbage => "garbage read",
            Class::Duplicate => "duplicate elements",
            Class::IncompatibleOrder => "incompatible order",
            Class::Internal => "internal contradiction",
            Class::G1a => "aborted read (G1a)",
            Class::G1b => "intermediate read (G1b)",
            Class::WrongTotal => "wrong total",
            Class::G0 => "dirty write (G0)",
            Class::G1c => "circular information flow (G1c)",
            Class::LostUpdate => "lost update",
            Class::LostAppend => "lost append",
            Class::GSingle => "read skew (G-single)",
            Class::WriteSkew => "write skew (G2-item)",
            Class::LongFork => "long fork (G2-item)",
            Class::G2Item => "anti-dependency cycle (G2-item)",
            Class::G2 => "phantom (G2)",
            Class::StaleRead => "stale read (G-single-realtime)",
            Class::CausalReverse => "causal reverse (G-single-realtime)",
            Class::NonMonotonic => "non-monotonic read (G-single-process)",
            Class::Sequential => "sequential violation (process order)",
            Class::G0Realtime => "write order against real time (G0-realtime)",
            Class::G1cRealtime => "read from the future (G1c-realtime)",
            Class::GSingleRealtime => "read skew over real time (G-single-realtime)",
            Class::G2Realtime => "anti-dependency cycle over real time (G2-realtime)",
        }
    }

    /// Which anomaly a cycle is.
    pub(super) fn of(steps: &[Step], index: &Index<'_>) -> Class {
        let count = |wanted: fn(&Because) -> bool| steps.iter().filter(|s| wanted(&s.because)).count();
        let ww = count(|b| matches!(b, Because::Ww { .. }));
        let wr = count(|b| matches!(b, Because::Wr { .. }));
        let rw = count(|b| matches!(b, Because::Rw { .. }));
        let rt = count(|b| matches!(b, Because::RealTime));
        let timed = count(|b| matches!(b, Because::Rw { timed: true, .. }));
        let lost = count(|b| matches!(b, Because::Rw { unobserved: true, .. })) > 0;
        let predicate = count(|b| matches!(b, Because::Rw { predicate: true, .. })) > 0;
        if rt == 0 && timed == 0 {
            return match (rw, wr, ww) {
                (0, 0, _) => Class::G0,
                (0, ..) => Class::G1c,
                _ if same_key(steps) => Class::LostUpdate,
                (1, ..) => Class::GSingle,
                (2, 2, 0) if long_fork(steps, index) => Class::LongFork,
                _ if predicate => Class::G2,
                (2, 0, 0) => Class::WriteSkew,
                _ => Class::G2Item,
            };
        }
        let own = steps.iter().all(|s| s.because != Because::RealTime || index.txn(s.from).process == index.txn(s.to).process);
        if rt > 0 && own && timed == 0 && !lost {
            let monotonic = (rt, rw, wr, ww) == (1, 1, 1, 0)
                && steps.iter().any(|s| s.because == Because::RealTime && index.read_only(s.from) && index.read_only(s.to));
            return if monotonic { Class::NonMonotonic } else { Class::Sequential };
        }
        match (rw, wr, ww, rt) {
            (0, 0, ..) => Class::G0Realtime,
            (0, ..) => Class::G1cRealtime,
            (1, 0, 0, 1) if lost => Class::LostAppend,
            (1, 0, 0, 1) => Class::StaleRead,
            (1, 1, 0, 1) if causal_reverse(steps) => Class::CausalReverse,
            (1, ..) => Class::GSingleRealtime,
            _ => Class::G2Realtime,
        }
    }
}

/// Two transactions, and both edges are about one key that both write.
fn same_key(steps: &[Step]) -> bool {
    match steps {
        [a, b] => {
            let key = |b: &Because| match b {
                Because::Ww { key, .. } | Because::Rw { key, .. } => Some(*key),
                Because::Wr { .. } | Because::RealTime => None,
            };
            key(&a.because).is_some() && key(&a.because) == key(&b.because)
        }
        _ => false,
    }
}

/// Reader → writer → reader → writer, and the readers only read.
fn long_fork(steps: &[Step], index: &Index<'_>) -> bool {
    steps.len() == 4 && steps.iter().all(|s| matches!(s.because, Because::Wr { .. }) || index.read_only(s.from))
}

/// Real time from one writer to the other: the reader does not take part in it.
fn causal_reverse(steps: &[Step]) -> bool {
    let Some(rt) = steps.iter().find(|s| s.because == Because::RealTime) else { return false };
    let into = steps.iter().find(|s| s.to == rt.from);
    let out = steps.iter().find(|s| s.from == rt.to);
    matches!((into.map(|s| &s.because), out.map(|s| &s.because)), (Some(Because::Rw { .. }), Some(Because::Wr { .. })))
}
