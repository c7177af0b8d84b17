//! A run that failed, made smaller: fewer strikes of the nemesis, fewer clients, fewer nodes, less time, as long as something is still wrong.
//!
//! Every strike has its own source of choices, so leaving one out changes nothing about the others. It does change everything that comes
//! after it in time, of course: the smaller run may show another symptom of the same bug, which is as good.

use super::plan::{Overrides, Plan};
use super::report::Report;
use super::run;

/// Runs that shrinking may cost.
const RUNS_MAX: usize = 60;

/// The smallest failing run found from `failed`; that itself if there is none.
pub fn shrink(failed: Report) -> Report {
    let mut search = Search { best: failed, runs: 0 };
    let struck: Vec<u64> = search.best.strikes.iter().map(|(number, _)| *number).collect();
    search.fewer_strikes(struck);
    let clients = search.best.plan.clients;
    (1..clients).any(|n| search.accepts(|o| o.clients = Some(n)));
    if search.best.plan.nodes > 3 {
        search.accepts(|o| o.nodes = Some(3));
    }
    for share in [2, 3, 4] {
        let millis = search.best.plan.duration.as_millis() as u64 * share / 5;
        if search.accepts(|o| o.millis = Some(millis)) {
            break;
        }
    }
    if search.best.plan.ttl.is_some() {
        search.accepts(|o| o.ttl = Some(0));
    }
    if search.best.plan.slow_share > 0.0 {
        search.accepts(|o| o.slow = Some(0.0));
    }
    // With less time and fewer clients, perhaps even fewer of them.
    let left: Vec<u64> = search.best.strikes.iter().map(|(number, _)| *number).collect();
    search.fewer_strikes(left);
    search.best
}

struct Search {
    best: Report,
    runs: usize,
}

impl Search {
    /// Runs the best plan with a change; keeps it if it fails, too.
    fn accepts(&mut self, change: impl FnOnce(&mut Overrides)) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let mut overrides = self.best.plan.overrides.clone();
        change(&mut overrides);
        let report = run(Plan::with(self.best.plan.seed, overrides), false);
        let fails = !report.wrong.is_empty();
        if fails {
            self.best = report;
        }
        fails
    }

    /// Leaves out portions of the strikes: half of them, then quarters, then single ones.
    fn fewer_strikes(&mut self, mut strikes: Vec<u64>) {
        if strikes.is_empty() || self.accepts(|o| o.strikes = Some(Vec::new())) {
            return;
        }
        let mut portion = strikes.len().div_ceil(2);
        loop {
            let mut at = 0;
            while at < strikes.len() && strikes.len() > 1 {
                let mut fewer = strikes.clone();
                fewer.drain(at..(at + portion).min(strikes.len()));
                if !fewer.is_empty() && self.accepts(|o| o.strikes = Some(fewer.clone())) {
                    strikes = fewer;
                } else {
                    at += portion;
                }
            }
            if portion <= 1 || self.runs >= RUNS_MAX {
                return;
            }
            portion = portion.div_ceil(2);
        }
    }
}
