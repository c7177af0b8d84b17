//! What must hold in every state.
//!
//! Strict serializability is judged without looking at any timestamp but the order of versions: the graph of wr, ww, rw and real-time edges between
//! the transactions that took effect has no cycle. The others are the claims from which that follows, each under its name.

use crate::scenario::{Op, Scenario, TXNS};
use crate::state::{INITIAL, Phase, State, Status, Time, ghost};

/// Every invariant, by name.
pub const INVARIANTS: [&str; 14] = [
    "strict serializability",
    "T1: a transaction takes effect inside its own real time",
    "T2: a transaction saw its snapshot",
    "T3, C10: an answer waits for every timestamp that it depends on",
    "L1: one leaseholder for any timestamp",
    "L2: nothing lands at or below a read of an earlier leaseholder",
    "C1: an attempt reads at or above the true time of its start",
    "C2: nothing lands at or below a read that was served",
    "C3: every read that is not written is valid at the commit timestamp",
    "C4: a write replaces the version that was read",
    "C5: the record is final before an intent is resolved",
    "C6: what was answered stays, and final records stay",
    "C7: nothing of a transaction lies at or below what a pusher was promised",
    "C8: every write is there once, all or none",
];

/// Those that a client could notice: the cycle, an answer that is taken back, half a transaction.
const OBSERVABLE: [usize; 3] = [0, 11, 13];

fn writes(scenario: &Scenario, txn: usize) -> bool {
    scenario.programs[txn].ops.iter().any(|op| matches!(op, Op::Write(_)))
}

/// The name of the first invariant that does not hold.
pub fn broken(scenario: &Scenario, state: &State) -> Option<&'static str> {
    let named = |index: usize| Some(INVARIANTS[index]);
    let bits = [(ghost::T3, 3), (ghost::L1, 4), (ghost::L2, 5), (ghost::C2, 7), (ghost::C5, 10), (ghost::C6, 11)];
    // The cycle first: it is what all the others are for.
    if cyclic(scenario, state) {
        return named(0);
    }
    for x in 0..scenario.programs.len() {
        if let Some(index) = of_txn(scenario, state, x).filter(|index| !scenario.observable || OBSERVABLE.contains(index)) {
            return named(index);
        }
    }
    if scenario.observable {
        return None;
    }
    bits.into_iter().find(|(bit, _)| state.broken & bit != 0).and_then(|(_, index)| named(index))
}

fn of_txn(scenario: &Scenario, state: &State, x: usize) -> Option<usize> {
    let txn = &state.txns[x];
    if txn.phase == Phase::NotBegun {
        return None;
    }
    let writes = writes(scenario, x);
    if txn.read_ts < txn.started {
        return Some(6);
    }
    let answered = txn.phase == Phase::Answered;
    if answered && writes && txn.status == Status::Aborted {
        return Some(11);
    }
    let point = match txn.status {
        Status::Committed(at) => at,
        _ if answered || txn.phase == Phase::Waiting => txn.commit_ts,
        _ => return installed(scenario, state, x),
    };
    if answered && writes && !(txn.started <= point && point < txn.answered) {
        return Some(1);
    }
    if txn.promised >= point && writes {
        return Some(12);
    }
    for (key, seen) in txn.seen.iter().enumerate().filter_map(|(k, seen)| seen.map(|seen| (k, seen))) {
        let versions = state.keys[key].versions();
        let Some(at) = versions.iter().position(|v| v.writer == seen.version.writer) else { continue };
        let next = versions.get(at + 1);
        if seen.written {
            // Its own version, once there, stands right above the one it read.
            if versions.iter().any(|v| v.writer == x as u8) && next.is_none_or(|n| n.writer != x as u8) {
                return Some(9);
            }
        } else if next.is_some_and(|n| n.ts <= point && n.writer != x as u8) {
            return Some(if writes { 8 } else { 2 });
        }
    }
    installed(scenario, state, x)
}

/// C8: of a transaction that is over for good (nothing to resolve any more, nothing under way) every write is there once, or none is.
fn installed(scenario: &Scenario, state: &State, x: usize) -> Option<usize> {
    let count = |key: u8| {
        let key = &state.keys[key as usize];
        let intents = key.intent.iter().filter(|i| i.writer == x as u8).count();
        (key.versions().iter().filter(|v| v.writer == x as u8).count(), intents)
    };
    let counts = scenario.programs[x].ops.iter().filter_map(|op| if let Op::Write(key) = op { Some(count(*key)) } else { None });
    let committed = matches!(state.txns[x].status, Status::Committed(_));
    for (versions, intents) in counts {
        // Committed: a version or an intent that will become one. Aborted: no version.
        let twice = versions > 1 || (versions == 1 && intents == 1 && committed && state.txns[x].to_resolve == 0);
        let lost = committed && versions + intents == 0;
        let half = state.txns[x].status == Status::Aborted && versions > 0;
        if twice || lost || half {
            return Some(13);
        }
    }
    None
}

/// Whether the graph of the transactions that took effect has a cycle.
fn cyclic(scenario: &Scenario, state: &State) -> bool {
    let n = scenario.programs.len();
    let mut edge = [[false; TXNS]; TXNS];
    let there: Vec<bool> = (0..n).map(|x| state.txns[x].took_effect(!writes(scenario, x))).collect();
    let both = |a: u8, b: u8| a != b && a != INITIAL && b != INITIAL && there[a as usize] && there[b as usize];
    for key in &state.keys {
        for pair in key.versions().windows(2).filter(|pair| both(pair[0].writer, pair[1].writer)) {
            edge[pair[0].writer as usize][pair[1].writer as usize] = true;
        }
    }
    for x in (0..n).filter(|x| there[*x]) {
        let txn = &state.txns[x];
        for y in (0..n).filter(|y| txn.after & 1 << y != 0 && there[*y]) {
            edge[y][x] = true;
        }
        for (key, seen) in txn.seen.iter().enumerate().filter_map(|(k, seen)| seen.map(|seen| (k, seen))) {
            let versions = state.keys[key].versions();
            let writer = seen.version.writer;
            if both(writer, x as u8) {
                edge[writer as usize][x] = true;
            }
            let at = versions.iter().position(|v| v.writer == writer);
            if let Some(next) = at.and_then(|at| versions.get(at + 1)).filter(|next| both(x as u8, next.writer)) {
                edge[x][next.writer as usize] = true;
            }
        }
    }
    for via in 0..n {
        for a in 0..n {
            for b in 0..n {
                edge[a][b] |= edge[a][via] && edge[via][b];
            }
        }
    }
    (0..n).any(|x| edge[x][x])
}

/// The timestamps that an answer depends on: the commit timestamp of who wrote, every version that was looked at.
pub fn depends_on(scenario: &Scenario, state: &State, x: usize) -> Time {
    let txn = &state.txns[x];
    let seen = txn.seen.iter().flatten().map(|seen| seen.version.ts).max().unwrap_or(0);
    if writes(scenario, x) { seen.max(txn.commit_ts) } else { seen }
}
