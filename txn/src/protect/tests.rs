//! The rules under random interleavings: nodes with wrong clocks protect, renew, crash and lose answers while collectors come and go. Every read
//! that is allowed is at or above every horizon that anybody has used before; and the model notices when a rule is broken.

use meridian_clock::{Entropy, Rng};
use rand::Rng as _;

use super::*;

const RULES: Rules = Rules { ttl: Duration::from_millis(1000), age_max: Duration::from_millis(4000) };

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Collectors read the rows first and take the time then.
    TimeAfterRows,
    /// The floor is raised only when the row is known to be there.
    FloorAfterWrite,
    /// An acknowledgement counts with the time at which the row was planned.
    TimeOfPlan,
    /// A row that was held until a moment ago counts as if there had been no gap.
    GapForgiven,
    /// Collectors take rows for lapsed by the other end of their clock, without slack.
    LapsedEarly,
}

fn at(millis: f64) -> Timestamp {
    Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + (millis * 1e6) as u64)
}

/// A compare-and-set on its way.
#[derive(Clone, Copy)]
struct Write {
    expected: Option<Row>,
    row: Option<Row>,
    planned: ClockInterval,
    /// What came of it, once it has been there.
    applied: Option<bool>,
}

#[derive(Default)]
struct Node {
    state: State,
    /// Half the width of what its clock says.
    error: f64,
    open: Vec<Timestamp>,
    under_way: Option<Write>,
}

#[derive(Clone)]
struct Collector {
    now: Option<ClockInterval>,
    rows: Option<Vec<(usize, Row)>>,
}

/// What happened in a run.
#[derive(Default)]
struct Tally {
    protected_reads: usize,
    refused: usize,
    held_back: usize,
    wrong: Option<String>,
}

struct World {
    rng: Rng,
    broken: Broken,
    now: f64,
    nodes: Vec<Node>,
    rows: Vec<Option<Row>>,
    /// Writes that nobody waits for any more, and may still happen.
    ghosts: Vec<(usize, Write)>,
    collectors: Vec<Collector>,
    horizon: Timestamp,
    tally: Tally,
}

impl World {
    fn new(seed: u64, broken: Broken) -> World {
        let mut rng = Entropy::seeded(seed).fork("protect").rng();
        let errors = [0.0, 3.0, 60.0];
        let node = |rng: &mut Rng| Node { error: errors[rng.random_range(0..3)], ..Node::default() };
        let nodes: Vec<Node> = (0..3).map(|_| node(&mut rng)).collect();
        World {
            rows: vec![None; nodes.len()],
            nodes,
            rng,
            broken,
            now: 10_000.0,
            ghosts: Vec::new(),
            collectors: Vec::new(),
            horizon: Timestamp::ZERO,
            tally: Tally::default(),
        }
    }

    /// What the clock of a node (or of a collector on it) says: true time lies inside, anywhere.
    fn clock(&mut self, node: usize) -> ClockInterval {
        let error = self.nodes[node].error;
        let reading = self.now + self.rng.random_range(-1.0..=1.0) * error;
        ClockInterval { earliest: at(reading - error), latest: at(reading + error) }
    }

    fn apply(&mut self, node: usize, write: &mut Write) {
        let same = self.rows[node] == write.expected;
        if same {
            self.rows[node] = write.row;
        }
        write.applied = Some(same);
    }

    fn step(&mut self) {
        let pause = if self.rng.random_bool(0.01) { 600.0 } else { 10.0 };
        self.now += self.rng.random_range(0.0..pause);
        let node = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..8 => self.open(node),
            8..10 => self.close(node),
            10..45 => self.write(node),
            45..65 => self.collect(node),
            65..68 => self.ghost(),
            68 => self.crash(node),
            _ => self.read(node),
        }
    }

    fn open(&mut self, node: usize) {
        if self.nodes[node].open.len() >= 3 {
            return;
        }
        let latest = self.clock(node).latest;
        let ago = if self.rng.random_bool(0.4) { self.rng.random_range(0..3000) } else { 0 };
        let at = latest.minus(Duration::from_millis(ago));
        self.nodes[node].open.push(at);
        *self.nodes[node].state.open.entry(at).or_default() += 1;
    }

    fn close(&mut self, node: usize) {
        if let Some(at) = self.nodes[node].open.pop() {
            close(&mut self.nodes[node].state.open, at);
        }
    }

    /// One step of the keeper: plan, arrive, hear of it or not.
    fn write(&mut self, node: usize) {
        let now = self.clock(node);
        let Some(mut write) = self.nodes[node].under_way.take() else {
            let state = &mut self.nodes[node].state;
            let floor = state.held.map(|held| held.floor);
            let Some(row) = state.plan(&RULES, now) else { return };
            if self.broken == Broken::FloorAfterWrite
                && let (Some(held), Some(floor)) = (&mut state.held, floor)
            {
                held.floor = floor;
            }
            self.nodes[node].under_way = Some(Write { expected: self.rows[node], row, planned: now, applied: None });
            return;
        };
        match write.applied {
            None if self.rng.random_bool(0.1) => self.ghosts.push((node, write)),
            None => {
                self.apply(node, &mut write);
                self.nodes[node].under_way = Some(write);
            }
            Some(_) if self.rng.random_bool(0.1) => {}
            _ if self.rng.random_bool(0.4) => self.nodes[node].under_way = Some(write),
            Some(false) => {}
            Some(true) => {
                let now = if self.broken == Broken::TimeOfPlan { write.planned } else { now };
                let state = &mut self.nodes[node].state;
                if self.broken == Broken::GapForgiven
                    && let Some(held) = &mut state.held
                {
                    held.until = held.until.max(now.latest);
                }
                state.acknowledged(&RULES, write.row, now);
            }
        }
    }

    /// One step of some collector: the time, the rows, their use.
    fn collect(&mut self, node: usize) {
        if self.collectors.len() < 3 && self.rng.random_bool(0.3) {
            self.collectors.push(Collector { now: None, rows: None });
            return;
        }
        if self.collectors.is_empty() {
            return;
        }
        let which = self.rng.random_range(0..self.collectors.len());
        let mut collector = self.collectors.swap_remove(which);
        let time_first = self.broken != Broken::TimeAfterRows;
        match (&collector.now, &collector.rows) {
            (None, None) if time_first => collector.now = Some(self.clock(node)),
            (None, Some(_)) => collector.now = Some(self.clock(node)),
            (_, None) => collector.rows = Some(self.rows.iter().enumerate().filter_map(|(i, row)| Some((i, (*row)?))).collect()),
            (Some(now), Some(stored)) => {
                for (node, row) in stored {
                    if RULES.lapsed(row, *now) && self.rows[*node] == Some(*row) {
                        self.rows[*node] = None;
                    }
                }
                return;
            }
        }
        // From this moment on it may be acted upon.
        if let (Some(now), Some(rows)) = (&collector.now, &collector.rows) {
            let counts = |row: &Row| self.broken != Broken::LapsedEarly || now.latest < row.until;
            let rows: Vec<Row> = rows.iter().map(|(_, row)| *row).filter(counts).collect();
            let horizon = RULES.horizon(*now, &rows);
            self.tally.held_back += usize::from(horizon < RULES.horizon(*now, &[]));
            self.horizon = self.horizon.max(horizon);
        }
        self.collectors.push(collector);
    }

    fn ghost(&mut self) {
        if !self.ghosts.is_empty() {
            let which = self.rng.random_range(0..self.ghosts.len());
            let (node, mut write) = self.ghosts.swap_remove(which);
            self.apply(node, &mut write);
        }
    }

    fn crash(&mut self, node: usize) {
        let error = self.nodes[node].error;
        let dead = std::mem::replace(&mut self.nodes[node], Node { error, ..Node::default() });
        self.ghosts.extend(dead.under_way.filter(|write| write.applied.is_none()).map(|write| (node, write)));
    }

    fn read(&mut self, node: usize) {
        let open = &self.nodes[node].open;
        if open.is_empty() {
            return;
        }
        let at = open[self.rng.random_range(0..open.len())];
        let now = self.clock(node);
        if !self.nodes[node].state.allows(&RULES, at, now) {
            self.tally.refused += 1;
            if self.rng.random_bool(0.2) {
                self.nodes[node].open.retain(|other| *other != at);
                self.nodes[node].state.open.remove(&at);
            }
            return;
        }
        self.tally.protected_reads += usize::from(at < now.latest.minus(RULES.ttl));
        if at < self.horizon {
            self.tally.wrong.get_or_insert(format!("a read at {at} was allowed, below the horizon {}", self.horizon));
        }
    }
}

fn run(seed: u64, broken: Broken) -> Tally {
    let mut world = World::new(seed, broken);
    for _ in 0..6000 {
        world.step();
        if world.tally.wrong.is_some() {
            break;
        }
    }
    world.tally
}

#[test]
fn no_read_is_allowed_below_a_horizon_that_was_used() {
    let (mut reads, mut refused, mut held_back) = (0, 0, 0);
    for seed in 0..400 {
        let tally = run(seed, Broken::Nothing);
        assert_eq!(tally.wrong, None, "seed {seed}");
        (reads, refused, held_back) = (reads + tally.protected_reads, refused + tally.refused, held_back + tally.held_back);
    }
    println!("{reads} reads older than the TTL allowed, {refused} refused, {held_back} collections held back");
    assert!(reads > 10_000 && refused > 10_000 && held_back > 1_000, "{reads} {refused} {held_back}");
}

#[test]
fn a_broken_rule_is_noticed() {
    for broken in [Broken::TimeAfterRows, Broken::FloorAfterWrite, Broken::TimeOfPlan, Broken::GapForgiven, Broken::LapsedEarly] {
        let found = (0..2000).find_map(|seed| Some((seed, run(seed, broken).wrong?)));
        println!("{broken:?}: {found:?}");
        assert!(found.is_some(), "{broken:?} goes unnoticed");
    }
}

#[test]
fn rows_are_read_back_and_others_refused() {
    let row = Row { timestamp: at(5.0), until: at(7.5) };
    assert_eq!(Row::decode(&row.encode()).unwrap(), row);
    for bytes in [&b""[..], b"1234567", b"123456781234567", b"12345678123456781"] {
        assert!(Row::decode(bytes).is_err());
    }
}
