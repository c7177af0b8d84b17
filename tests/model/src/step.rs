//! The protocol, one atomic step at a time. Structure and names follow `txn/src/coordinator` and `txn/src/leaseholder`.

use crate::invariants::depends_on;
use crate::scenario::{KEYS, NODES, Op, RANGES, Rule, Scenario};
use crate::state::{BEGIN, INITIAL, PROMISE, Phase, Seen, State, Status, Time, Txn, Version, ghost};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Tick,
    /// A transaction begins.
    Start(u8),
    /// Its next operation is served, `old`: by a leaseholder that was cut off.
    Next { txn: u8, old: bool },
    /// A read of it is validated.
    Validate { txn: u8, key: u8, old: bool },
    /// The one-phase commit is evaluated.
    OnePhase(u8),
    /// An intent is laid.
    Put { txn: u8, key: u8 },
    /// A request for an intent arrives a second time.
    PutAgain { txn: u8, key: u8 },
    /// The record is staged.
    Stage(u8),
    /// The coordinator hears of its landings.
    Conclude(u8),
    /// The COMMITTED record is written.
    Record(u8),
    /// An intent is resolved.
    Resolve { txn: u8, key: u8 },
    /// The client is answered.
    Answer(u8),
    /// The coordinator dies.
    Crash(u8),
    /// Whoever waits for the intent on a key settles it.
    Settle { waiter: u8, key: u8 },
    /// Recovery asks for a key.
    Ask { txn: u8, key: u8 },
    /// Recovery decides.
    Decide(u8),
    /// A leaseholder is cut off.
    Cut(u8),
    /// Another is elected.
    Elect { range: u8, node: u8 },
    /// The lease is moved.
    Move(u8),
}

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| mask & 1 << bit != 0)
}

fn written(scenario: &Scenario, txn: u8) -> u8 {
    let mask = |op: &Op| if let Op::Write(key) = op { 1 << key } else { 0 };
    scenario.programs[txn as usize].ops.iter().fold(0, |all, op| all | mask(op))
}

fn one_range(scenario: &Scenario, txn: u8) -> bool {
    let mut ranges = bits(written(scenario, txn)).map(|key| scenario.range_of[key as usize]);
    let first = ranges.next();
    ranges.all(|range| Some(range) == first)
}

/// The range of the record.
fn anchor(scenario: &Scenario, txn: u8) -> u8 {
    scenario.range_of[written(scenario, txn).trailing_zeros() as usize % KEYS]
}

/// All steps that are possible, and some that are not ([`take`] answers `None`).
pub fn enabled(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    let n = scenario.programs.len() as u8;
    let over = |t: &Txn| matches!(t.phase, Phase::Answered | Phase::Failed) || t.dead;
    if state.now < BEGIN + scenario.ticks as Time && !state.txns[..n as usize].iter().all(over) {
        actions.push(Action::Tick);
    }
    for txn in 0..n {
        of_txn(scenario, state, txn, actions);
    }
    for range in 0..RANGES as u8 {
        let r = &state.ranges[range as usize];
        if r.cut.is_some() {
            actions.extend((0..NODES as u8).map(|node| Action::Elect { range, node }));
        } else if r.old.is_none() {
            if state.cuts > 0 {
                actions.push(Action::Cut(range));
            }
            if state.moves > 0 {
                actions.push(Action::Move(range));
            }
        }
    }
}

fn of_txn(scenario: &Scenario, state: &State, txn: u8, actions: &mut Vec<Action>) {
    let t = &state.txns[txn as usize];
    let has_old = |key: u8| state.ranges[scenario.range_of[key as usize] as usize].old.is_some();
    match t.phase {
        Phase::NotBegun => return actions.push(Action::Start(txn)),
        Phase::Running(at) if !t.dead => {
            actions.push(Action::Next { txn, old: false });
            let op = scenario.programs[txn as usize].ops[at as usize];
            if let Op::Read(key) = op
                && has_old(key)
            {
                actions.push(Action::Next { txn, old: true });
            }
            let (Op::Read(key) | Op::Write(key) | Op::Lock(key)) = op;
            settle(state, txn, key, actions);
        }
        Phase::Moving(_) | Phase::Validating if !t.dead => {
            for key in bits(t.pending) {
                actions.push(Action::Validate { txn, key, old: false });
                if has_old(key) {
                    actions.push(Action::Validate { txn, key, old: true });
                }
                settle(state, txn, key, actions);
            }
        }
        Phase::Writing => {
            if t.one_phase_due {
                actions.push(Action::OnePhase(txn));
                if !t.dead {
                    bits(written(scenario, txn)).for_each(|key| settle(state, txn, key, actions));
                }
            } else if !t.dead && t.pending == 0 && !t.staging_due {
                actions.push(Action::Conclude(txn));
            }
        }
        Phase::Waiting if !t.dead => actions.push(Action::Answer(txn)),
        _ => {}
    }
    if t.laid {
        if matches!(t.phase, Phase::Writing | Phase::Failed) {
            for key in bits(t.pending) {
                actions.push(Action::Put { txn, key });
                if !t.dead {
                    settle(state, txn, key, actions);
                }
            }
        }
        if t.staging_due {
            actions.push(Action::Stage(txn));
        }
        if state.replays > 0 {
            actions.extend(bits(t.replayable).map(|key| Action::PutAgain { txn, key }));
        }
    }
    if t.record_due {
        actions.push(Action::Record(txn));
    }
    actions.extend(bits(t.to_resolve).map(|key| Action::Resolve { txn, key }));
    if let Some((_, left, _)) = t.recovery {
        actions.extend(bits(left).map(|key| Action::Ask { txn, key }));
        if left == 0 {
            actions.push(Action::Decide(txn));
        }
    }
    if state.crashes > 0 && !t.dead && !matches!(t.phase, Phase::Answered | Phase::Failed) {
        actions.push(Action::Crash(txn));
    }
}

fn settle(state: &State, waiter: u8, key: u8, actions: &mut Vec<Action>) {
    if state.keys[key as usize].intent.is_some_and(|intent| intent.writer != waiter) {
        actions.push(Action::Settle { waiter, key });
    }
}

/// The state after a step; `None` if it is not possible.
pub fn take(scenario: &Scenario, state: &State, action: Action) -> Option<State> {
    let mut world = World { scenario, state: state.clone() };
    let possible = match action {
        Action::Tick => {
            world.state.now += 1;
            true
        }
        Action::Start(txn) => world.start(txn),
        Action::Next { txn, old } => world.next(txn, old),
        Action::Validate { txn, key, old } => world.validate(txn, key, old),
        Action::OnePhase(txn) => world.one_phase(txn),
        Action::Put { txn, key } => world.put(txn, key, false),
        Action::PutAgain { txn, key } => world.put(txn, key, true),
        Action::Stage(txn) => world.stage(txn),
        Action::Conclude(txn) => world.conclude(txn),
        Action::Record(txn) => world.record(txn),
        Action::Resolve { txn, key } => world.resolve(txn, key),
        Action::Answer(txn) => world.answer(txn),
        Action::Crash(txn) => world.crash(txn),
        Action::Settle { waiter, key } => world.settle(waiter, key),
        Action::Ask { txn, key } => world.ask(txn, key),
        Action::Decide(txn) => world.decide(txn),
        Action::Cut(range) => world.cut(range),
        Action::Elect { range, node } => world.elect(range, node),
        Action::Move(range) => world.hand_over(range),
    };
    possible.then_some(world.state)
}

struct World<'a> {
    scenario: &'a Scenario,
    state: State,
}

impl World<'_> {
    fn txn(&mut self, txn: u8) -> &mut Txn {
        &mut self.state.txns[txn as usize]
    }

    fn range_of(&self, key: u8) -> usize {
        self.scenario.range_of[key as usize] as usize
    }

    /// Whether the range of `key` can write at `ts`: a leaseholder that is cut off cannot.
    fn can_write(&self, key: u8, ts: Time) -> bool {
        let range = self.range_of(key);
        self.state.ranges[range].cut.is_none() && ts < self.state.lease_end(range as u8)
    }

    fn foreign_intent(&self, txn: u8, key: u8, at: Time) -> bool {
        self.state.keys[key as usize].intent.is_some_and(|intent| intent.writer != txn && intent.ts <= at)
    }

    fn start(&mut self, txn: u8) -> bool {
        let after = (0..self.scenario.programs.len()).filter(|x| self.state.txns[*x].phase == Phase::Answered).fold(0, |m, x| m | 1 << x);
        let (earliest, latest) = self.state.clock(self.scenario, self.scenario.programs[txn as usize].node);
        let (now, at_latest) = (self.state.now, self.scenario.on(Rule::StartAtLatest));
        let t = self.txn(txn);
        (t.phase, t.started, t.after) = (Phase::Running(0), now, after);
        t.read_ts = if at_latest { latest } else { earliest };
        true
    }

    /// T2, C2: a read at `ts` is served. `None`: it has to wait.
    fn serve(&mut self, txn: u8, key: u8, ts: Time, old: bool) -> Option<Version> {
        let range = self.range_of(key);
        let within = self.scenario.on(Rule::LeasePromise);
        if old {
            let (end, frozen) = (self.state.ranges[range].old?, self.state.keys[key as usize].frozen);
            if (within && ts >= end) || frozen == 0 {
                return None;
            }
            if ts >= end {
                self.state.broken |= ghost::L1;
            }
            self.note_served(txn, key, ts, true);
            return self.state.keys[key as usize].versions()[..frozen as usize].iter().rev().find(|v| v.ts <= ts).copied();
        }
        if within && ts >= self.state.lease_end(range as u8) {
            return None;
        }
        if self.scenario.on(Rule::ReadIntents) && self.foreign_intent(txn, key, ts) {
            return None;
        }
        self.note_served(txn, key, ts, false);
        let raises = self.scenario.on(Rule::TimestampCache);
        let key = &mut self.state.keys[key as usize];
        if raises {
            key.raise(ts, txn);
        }
        Some(key.as_of(ts))
    }

    fn note_served(&mut self, txn: u8, key: u8, ts: Time, earlier: bool) {
        let served = &mut self.state.keys[key as usize].served[txn as usize];
        if ts > served.0 {
            *served = (ts, earlier);
        }
    }

    /// C2, L2 as ghosts: a write lands at `ts`.
    fn note_landing(&mut self, txn: u8, key: u8, ts: Time) {
        for (reader, (served, earlier)) in self.state.keys[key as usize].served.into_iter().enumerate() {
            if reader != txn as usize && served >= ts {
                self.state.broken |= if earlier { ghost::L2 } else { ghost::C2 };
            }
        }
    }

    fn next(&mut self, txn: u8, old: bool) -> bool {
        let t = self.state.txns[txn as usize];
        let Phase::Running(at) = t.phase else { return false };
        match self.scenario.programs[txn as usize].ops[at as usize] {
            Op::Read(key) => {
                let Some(version) = self.serve(txn, key, t.read_ts, old) else { return false };
                self.txn(txn).seen[key as usize] = Some(Seen { version, locked: false, written: false, valid_at: t.read_ts });
                self.go_on(txn, at + 1);
                true
            }
            Op::Write(key) => self.lock(txn, key, at, true),
            Op::Lock(key) => self.lock(txn, key, at, false),
        }
    }

    /// A locking read of the newest version.
    fn lock(&mut self, txn: u8, key: u8, at: u8, written: bool) -> bool {
        let k = &self.state.keys[key as usize];
        if k.lock.is_some_and(|holder| holder != txn) || self.foreign_intent(txn, key, Time::MAX) {
            return false;
        }
        let version = k.newest();
        self.state.keys[key as usize].lock = Some(txn);
        let before = self.txn(txn).seen[key as usize].replace(Seen { version, locked: true, written, valid_at: 0 });
        if before.is_some_and(|before| before.version != version) {
            return self.fail(txn);
        }
        let t = self.state.txns[txn as usize];
        if version.ts <= t.read_ts {
            self.go_on(txn, at + 1);
            return true;
        }
        // The snapshot moves up: earlier reads must hold there.
        let stale = |seen: &Seen| !seen.locked && seen.valid_at < version.ts;
        let pending = self.pending(&t, |seen| stale(seen) && self.scenario.on(Rule::Validation));
        let t = self.txn(txn);
        (t.phase, t.pending, t.commit_ts) = (Phase::Moving(at + 1), pending, version.ts);
        self.proceed(txn)
    }

    fn pending(&self, t: &Txn, which: impl Fn(&Seen) -> bool) -> u8 {
        let due = |(key, seen): (usize, &Option<Seen>)| if seen.as_ref().is_some_and(&which) { 1 << key } else { 0 };
        t.seen.iter().enumerate().map(due).fold(0, |all, bit| all | bit)
    }

    /// On to operation `at`, or to the commit.
    fn go_on(&mut self, txn: u8, at: u8) {
        if (at as usize) < self.scenario.programs[txn as usize].ops.len() {
            self.txn(txn).phase = Phase::Running(at);
            return;
        }
        let t = self.state.txns[txn as usize];
        let locked = t.seen.iter().flatten().filter(|seen| seen.locked).map(|seen| seen.version.ts).max().unwrap_or(0);
        self.txn(txn).commit_ts = t.read_ts.max(locked);
        self.begin_validation(txn);
    }

    /// C3: every read that is not written must hold at the commit timestamp, locked or not. One-phase: those of the same range are checked there.
    fn begin_validation(&mut self, txn: u8) {
        let t = self.state.txns[txn as usize];
        let (rule, locks) = (self.scenario.on(Rule::Validation), self.scenario.on(Rule::LockValidation));
        let mut pending = self.pending(&t, |seen| rule && !seen.written && seen.valid_at < t.commit_ts && (locks || !seen.locked));
        if written(self.scenario, txn) != 0 && one_range(self.scenario, txn) && !t.laid {
            pending =
                bits(pending).filter(|key| self.scenario.range_of[*key as usize] != anchor(self.scenario, txn)).fold(0, |m, k| m | 1 << k);
        }
        let t = self.txn(txn);
        (t.phase, t.pending) = (Phase::Validating, pending);
        self.proceed(txn);
    }

    fn validate(&mut self, txn: u8, key: u8, old: bool) -> bool {
        let t = self.state.txns[txn as usize];
        let Some(version) = self.serve(txn, key, t.commit_ts, old) else { return false };
        let t = self.txn(txn);
        t.pending &= !(1 << key);
        let Some(seen) = &mut t.seen[key as usize] else { return false };
        seen.valid_at = t.commit_ts;
        t.refused |= seen.version.writer != version.writer;
        self.proceed(txn)
    }

    /// Once every validation is answered.
    fn proceed(&mut self, txn: u8) -> bool {
        let t = self.state.txns[txn as usize];
        if t.pending != 0 {
            return true;
        }
        if t.refused {
            return self.fail(txn);
        }
        match t.phase {
            Phase::Moving(at) => {
                self.txn(txn).read_ts = t.commit_ts;
                self.go_on(txn, at);
            }
            Phase::Validating => {
                let writes = written(self.scenario, txn);
                let one_range = one_range(self.scenario, txn);
                let t = self.txn(txn);
                if writes == 0 {
                    t.phase = Phase::Waiting;
                    return self.unlock(txn);
                }
                t.phase = Phase::Writing;
                t.pushed_to = t.commit_ts;
                if one_range && !t.laid {
                    t.one_phase_due = true;
                } else {
                    t.staging_due = true;
                    if !t.laid {
                        (t.laid, t.to_lay) = (true, writes);
                    }
                    (t.pending, t.to_lay) = (t.to_lay, 0);
                }
            }
            _ => {}
        }
        true
    }

    /// C4: the newest version is the one that was read. C8: or the attempt's own.
    fn may_land(&self, txn: u8, key: u8) -> bool {
        let seen = self.state.txns[txn as usize].seen[key as usize];
        !self.scenario.on(Rule::NewestVersion) || seen.is_some_and(|seen| seen.version == self.state.keys[key as usize].newest())
    }

    fn one_phase(&mut self, txn: u8) -> bool {
        let (t, writes) = (self.state.txns[txn as usize], written(self.scenario, txn));
        let here = anchor(self.scenario, txn) as usize;
        if bits(writes).any(|key| self.foreign_intent(txn, key, Time::MAX)) {
            return false;
        }
        let need = bits(writes).map(|key| self.state.keys[key as usize].floor(txn)).max().unwrap_or(0).max(t.commit_ts);
        let first = writes.trailing_zeros() as u8;
        if !self.can_write(first, need) {
            return false;
        }
        self.txn(txn).one_phase_due = false;
        if !bits(writes).all(|key| self.may_land(txn, key)) {
            self.txn(txn).refused = true;
            return true;
        }
        let (rule, locks) = (self.scenario.on(Rule::Validation), self.scenario.on(Rule::LockValidation));
        let unwritten = self.pending(&t, |seen| rule && !seen.written && (locks || !seen.locked));
        if need > t.commit_ts && bits(unwritten).any(|key| self.range_of(key) != here) {
            // C9: validated elsewhere at a timestamp that is pushed again and again: with intents it is fixed.
            self.txn(txn).pushed_to = need;
            return true;
        }
        for key in bits(unwritten).filter(|key| self.scenario.range_of[*key as usize] as usize == here).collect::<Vec<_>>() {
            let seen = t.seen[key as usize].map_or(INITIAL, |seen| seen.version.writer);
            if t.seen[key as usize].is_some_and(|seen| seen.valid_at >= need) {
                continue;
            }
            match self.serve(txn, key, need, false) {
                None => return false,
                Some(version) if version.writer != seen => self.txn(txn).refused = true,
                Some(_) => {}
            }
        }
        if self.txn(txn).refused {
            return true;
        }
        for key in bits(writes) {
            self.note_landing(txn, key, need);
            self.state.keys[key as usize].add(Version { ts: need, writer: txn });
        }
        let t = self.txn(txn);
        (t.status, t.commit_ts, t.pushed_to) = (Status::Committed(need), need, need);
        true
    }

    fn put(&mut self, txn: u8, key: u8, again: bool) -> bool {
        let t = self.state.txns[txn as usize];
        if self.foreign_intent(txn, key, Time::MAX) {
            return false;
        }
        let k = self.state.keys[key as usize];
        let own = k.intent.is_some() || k.versions().iter().any(|v| v.writer == txn);
        let at = if again { t.read_ts } else { t.commit_ts };
        let ts = k.floor(txn).max(at);
        if !self.can_write(key, ts) {
            return false;
        }
        if again {
            self.state.replays -= 1;
            self.txn(txn).replayable &= !(1 << key);
        } else {
            let t = self.txn(txn);
            t.pending &= !(1 << key);
            t.replayable |= 1 << key;
        }
        if own && self.scenario.on(Rule::Replay) {
            return true;
        }
        // Without C8 a replay finds its own version where the one it read should be, and takes it for that.
        if !(self.may_land(txn, key) || (own && again)) {
            self.txn(txn).refused |= !again;
            return true;
        }
        self.note_landing(txn, key, ts);
        self.state.keys[key as usize].intent = Some(Version { ts, writer: txn });
        let t = self.txn(txn);
        t.pushed_to = if again { t.pushed_to } else { t.pushed_to.max(ts) };
        true
    }

    fn stage(&mut self, txn: u8) -> bool {
        let key = written(self.scenario, txn).trailing_zeros() as u8;
        let c = self.state.txns[txn as usize].commit_ts;
        if !self.can_write(key, c) {
            return false;
        }
        let t = self.txn(txn);
        t.staging_due = false;
        match t.status {
            Status::Aborted => t.refused = true,
            Status::Committed(_) => {}
            // C7.
            _ if t.min_ts > c => t.pushed_to = t.pushed_to.max(t.min_ts),
            _ => t.status = Status::Staging(c),
        }
        true
    }

    fn conclude(&mut self, txn: u8) -> bool {
        let t = self.state.txns[txn as usize];
        if let (Status::Committed(at), false) = (t.status, t.refused) {
            // One phase, or recovery was faster.
            self.txn(txn).commit_ts = at;
            self.txn(txn).record_due = t.laid;
        } else if t.refused {
            return self.fail(txn);
        } else if t.pushed_to > t.commit_ts {
            let writes = written(self.scenario, txn);
            let t = self.txn(txn);
            t.commit_ts = t.pushed_to;
            if !t.laid {
                // Pushed in one phase: intents from here on, after another validation.
                (t.laid, t.to_lay) = (true, writes);
            }
            self.begin_validation(txn);
            return true;
        } else {
            let writes = written(self.scenario, txn);
            let record_first = self.scenario.on(Rule::RecordFirst);
            let t = self.txn(txn);
            t.record_due = true;
            if !record_first {
                t.to_resolve |= writes;
            }
        }
        self.txn(txn).phase = Phase::Waiting;
        // Locks go at once, behind the client's back and without waiting for the clock.
        self.unlock(txn)
    }

    fn unlock(&mut self, txn: u8) -> bool {
        for key in &mut self.state.keys {
            if key.lock == Some(txn) {
                key.lock = None;
            }
        }
        true
    }

    /// Gives up. What recovery has decided meanwhile stands (C6).
    fn fail(&mut self, txn: u8) -> bool {
        let writes = written(self.scenario, txn);
        let t = self.txn(txn);
        t.refused = false;
        if let Status::Committed(at) = t.status {
            (t.phase, t.commit_ts, t.record_due) = (Phase::Waiting, at, true);
        } else {
            t.phase = Phase::Failed;
            if t.laid {
                (t.status, t.to_resolve) = (Status::Aborted, writes);
            } else {
                t.pending = 0;
            }
        }
        self.unlock(txn)
    }

    fn record(&mut self, txn: u8) -> bool {
        let writes = written(self.scenario, txn);
        let t = self.txn(txn);
        t.record_due = false;
        match t.status {
            Status::Aborted => self.state.broken |= ghost::C6,
            Status::Committed(at) if at != t.commit_ts => self.state.broken |= ghost::C6,
            _ => {
                t.status = Status::Committed(t.commit_ts);
                t.to_resolve |= writes;
            }
        }
        true
    }

    fn resolve(&mut self, txn: u8, key: u8) -> bool {
        let t = self.state.txns[txn as usize];
        if !self.can_write(key, 0) {
            return false;
        }
        self.txn(txn).to_resolve &= !(1 << key);
        if self.state.keys[key as usize].intent.is_none_or(|intent| intent.writer != txn) {
            return true;
        }
        let at = match t.status {
            Status::Committed(at) => Some(at),
            Status::Aborted => None,
            Status::Staging(_) | Status::None => {
                self.state.broken |= ghost::C5;
                Some(t.commit_ts)
            }
        };
        self.settle_key(txn, key, at);
        true
    }

    fn settle_key(&mut self, txn: u8, key: u8, at: Option<Time>) {
        let k = &mut self.state.keys[key as usize];
        k.intent = None;
        if let Some(ts) = at {
            k.add(Version { ts, writer: txn });
        }
        if k.lock == Some(txn) {
            k.lock = None;
        }
    }

    fn answer(&mut self, txn: u8) -> bool {
        let (earliest, _) = self.state.clock(self.scenario, self.scenario.programs[txn as usize].node);
        let due = depends_on(self.scenario, &self.state, txn as usize);
        let t = self.state.txns[txn as usize];
        let waits = match written(self.scenario, txn) {
            _ if !self.scenario.on(Rule::ReplyRule) => 0,
            0 if !self.scenario.on(Rule::SeenVersions) => 0,
            _ if !self.scenario.on(Rule::SeenVersions) => t.commit_ts,
            _ => due,
        };
        if earliest <= waits {
            return false;
        }
        if self.state.now <= due {
            self.state.broken |= ghost::T3;
        }
        let now = self.state.now;
        let t = self.txn(txn);
        (t.phase, t.answered) = (Phase::Answered, now);
        true
    }

    /// What it has sent may still arrive, at any time.
    fn crash(&mut self, txn: u8) -> bool {
        self.state.crashes -= 1;
        self.txn(txn).dead = true;
        self.unlock(txn)
    }

    /// C6, C7: the intent on `key` is in the way of `waiter`.
    fn settle(&mut self, waiter: u8, key: u8) -> bool {
        let Some(intent) = self.state.keys[key as usize].intent else { return false };
        let (b, w) = (self.state.txns[intent.writer as usize], self.state.txns[waiter as usize]);
        // A reader is content if the intent moves above its timestamp.
        let wanted = match w.phase {
            Phase::Running(at) => match self.scenario.programs[waiter as usize].ops[at as usize] {
                Op::Read(_) => Some(w.read_ts),
                _ => None,
            },
            Phase::Moving(_) | Phase::Validating => Some(w.commit_ts),
            _ => None,
        };
        if wanted.is_some_and(|ts| intent.ts > ts) || !self.can_write(key, 0) {
            return false;
        }
        match b.status {
            Status::Committed(at) => self.settle_key(intent.writer, key, Some(at)),
            Status::Aborted => self.settle_key(intent.writer, key, None),
            Status::Staging(c) => {
                if b.recovery.is_some() {
                    return false;
                }
                let keys = written(self.scenario, intent.writer);
                self.txn(intent.writer).recovery = Some((c, keys, false));
            }
            Status::None if b.dead => {
                self.txn(intent.writer).status = Status::Aborted;
                self.settle_key(intent.writer, key, None);
            }
            Status::None => {
                let Some(ts) = wanted else { return false };
                let in_record = self.scenario.on(Rule::PushRecord);
                let b = self.txn(intent.writer);
                if in_record {
                    b.min_ts = b.min_ts.max(ts + 1);
                }
                b.promised = b.promised.max(ts);
                self.state.keys[key as usize].intent = Some(Version { ts: ts + 1, ..intent });
            }
        }
        true
    }

    /// C6: is the intent there? If not, it never will be.
    fn ask(&mut self, txn: u8, key: u8) -> bool {
        let Some((c, left, missing)) = self.state.txns[txn as usize].recovery else { return false };
        if !self.can_write(key, c) {
            return false;
        }
        let there = self.state.keys[key as usize].intent.is_some_and(|intent| intent.writer == txn && intent.ts <= c);
        if self.scenario.on(Rule::Prevention) {
            self.state.keys[key as usize].raise(c, INITIAL);
        }
        self.txn(txn).recovery = Some((c, left & !(1 << key), missing || !there));
        true
    }

    fn decide(&mut self, txn: u8) -> bool {
        let writes = written(self.scenario, txn);
        let compare = self.scenario.on(Rule::RecoveryCas);
        let t = self.txn(txn);
        let Some((c, _, missing)) = t.recovery.take() else { return false };
        match t.status {
            Status::Staging(now) if now == c || !compare => {
                t.status = if missing { Status::Aborted } else { Status::Committed(now) };
                t.to_resolve |= writes;
            }
            _ => {}
        }
        true
    }

    fn cut(&mut self, range: u8) -> bool {
        self.state.cuts -= 1;
        self.state.ranges[range as usize].cut = Some(self.state.now + PROMISE);
        true
    }

    /// L1, L2.
    fn elect(&mut self, range: u8, node: u8) -> bool {
        let Some(end) = self.state.ranges[range as usize].cut else { return false };
        if self.scenario.on(Rule::VotePromise) && self.state.now <= end {
            return false;
        }
        let (_, low) = self.state.clock(self.scenario, node);
        if low < end {
            self.state.broken |= ghost::L1;
        }
        let r = &mut self.state.ranges[range as usize];
        (r.cut, r.old, r.low_water) = (None, Some(end), low);
        let mark = if self.scenario.on(Rule::LowWater) { low } else { 0 };
        self.new_holder(range, Some(mark));
        true
    }

    /// L3.
    fn hand_over(&mut self, range: u8) -> bool {
        self.state.moves -= 1;
        let mark = if self.scenario.on(Rule::HandOver) { None } else { Some(0) };
        self.new_holder(range, mark);
        true
    }

    /// Locks are lost; the timestamp cache is replaced by `mark`, if one is given.
    fn new_holder(&mut self, range: u8, mark: Option<Time>) {
        let here = self.state.keys.iter_mut().enumerate().filter(|(k, _)| self.scenario.range_of[*k] == range);
        for (_, key) in here {
            key.lock = None;
            key.frozen = if key.intent.is_some() { 0 } else { key.versions().len() as u8 };
            key.served.iter_mut().for_each(|served| served.1 = true);
            if let Some(mark) = mark {
                (key.read_up_to, key.reader) = (mark, INITIAL);
            }
        }
    }
}
