//! What is explored: a handful of transactions and what may go wrong beside them.

/// Most transactions of a scenario.
pub const TXNS: usize = 3;
/// Most keys.
pub const KEYS: usize = 3;
/// Most ranges.
pub const RANGES: usize = 2;
/// Most nodes.
pub const NODES: usize = 2;

/// What a transaction does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads its snapshot.
    Read(u8),
    /// Locks the row and reads its newest version; writes it at commit.
    Write(u8),
    /// Locks the row and reads its newest version, and never writes it (`FOR UPDATE`).
    Lock(u8),
}

/// One transaction.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The node of its coordinator.
    pub node: u8,
    /// What it does, in order.
    pub ops: &'static [Op],
}

/// A rule of the protocol that can be taken out. Names as in `meridian_clock::controls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// T1, C1: reads at `now().latest` of the start.
    StartAtLatest,
    /// T2: a read waits for intents at or below its timestamp.
    ReadIntents,
    /// T3: no answer before its timestamps have passed.
    ReplyRule,
    /// C2: reads raise the timestamp cache.
    TimestampCache,
    /// C3: what was read and not written is valid at the commit timestamp.
    Validation,
    /// C3 of what was locked and not written.
    LockValidation,
    /// C4: a landing checks the newest version.
    NewestVersion,
    /// C5: the record first.
    RecordFirst,
    /// C6: recovery decides the staging that it asked about.
    RecoveryCas,
    /// C6: what recovery did not find never lands.
    Prevention,
    /// C7: a push writes into the record.
    PushRecord,
    /// C8: replays recognise their own work.
    Replay,
    /// C10: the answer of a reader waits for what it saw.
    SeenVersions,
    /// L1: a leaseholder serves only within its promises.
    LeasePromise,
    /// L1: promises forbid an election.
    VotePromise,
    /// L2: a new lease starts with a low-water mark.
    LowWater,
    /// L3: a planned move hands the timestamp cache over.
    HandOver,
}

impl Rule {
    /// All rules.
    pub const ALL: [Rule; 17] = [
        Rule::StartAtLatest,
        Rule::ReadIntents,
        Rule::ReplyRule,
        Rule::TimestampCache,
        Rule::Validation,
        Rule::LockValidation,
        Rule::NewestVersion,
        Rule::RecordFirst,
        Rule::RecoveryCas,
        Rule::Prevention,
        Rule::PushRecord,
        Rule::Replay,
        Rule::SeenVersions,
        Rule::LeasePromise,
        Rule::VotePromise,
        Rule::LowWater,
        Rule::HandOver,
    ];
}

/// A small world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// The transactions.
    pub programs: &'static [Program],
    /// The range of each key.
    pub range_of: [u8; KEYS],
    /// The bound on every clock's error, in ticks.
    pub epsilon: u8,
    /// Offsets of the nodes' clocks from true time, each a case of its own.
    pub clocks: &'static [[i8; NODES]],
    /// Ticks that true time goes on for.
    pub ticks: u8,
    /// Ticks in the slice that CI explores.
    pub slice: u8,
    /// Coordinators that may die.
    pub crashes: u8,
    /// Leaseholders that may be cut off, each followed by an election.
    pub cuts: u8,
    /// Planned lease moves.
    pub moves: u8,
    /// Intents that may arrive a second time, each at any time.
    pub replays: u8,
    /// Rules taken out, by bit.
    pub off: u32,
    /// Look only at what a client could notice: for runs without a rule, so that the rule's own name is no finding.
    pub observable: bool,
}

impl Scenario {
    /// Whether a rule is in force.
    pub fn on(&self, rule: Rule) -> bool {
        self.off & (1 << rule as u8) == 0
    }

    /// The same without a rule, judged by what clients could notice.
    pub fn without(&self, rule: Rule) -> Scenario {
        Scenario { off: self.off | 1 << rule as u8, observable: true, ..self.clone() }
    }

    /// The part of it that CI explores.
    pub fn cut_to_slice(self) -> Scenario {
        Scenario { ticks: self.slice, ..self }
    }

    /// The scenario named so.
    pub fn named(name: &str) -> Option<Scenario> {
        all().into_iter().find(|scenario| scenario.name == name)
    }
}

const fn program(node: u8, ops: &'static [Op]) -> Program {
    Program { node, ops }
}

use Op::{Lock, Read, Write};

/// Both clocks right, or as far apart as the bound allows, either way.
const SKEWED: &[[i8; NODES]] = &[[0, 0], [1, -1], [-1, 1]];
const RIGHT: &[[i8; NODES]] = &[[0, 0]];
const APART: &[[i8; NODES]] = &[[1, -1], [-1, 1]];

const WORLD: Scenario = Scenario {
    name: "",
    programs: &[],
    range_of: [0, 1, 0],
    epsilon: 1,
    clocks: SKEWED,
    ticks: 5,
    slice: 5,
    crashes: 0,
    cuts: 0,
    moves: 0,
    replays: 0,
    off: 0,
    observable: false,
};

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        // Who comes after an answer sees it, through whichever node.
        Scenario {
            name: "causal",
            programs: &const { [program(0, &[Write(0)]), program(0, &[Read(0)]), program(1, &[Read(0)])] },
            clocks: APART,
            ticks: 7,
            slice: 6,
            ..WORLD
        },
        Scenario {
            name: "reverse",
            programs: &const { [program(0, &[Write(0)]), program(1, &[Write(1)]), program(0, &[Read(1), Read(0)])] },
            ticks: 7,
            slice: 6,
            ..WORLD
        },
        Scenario {
            name: "skew",
            programs: &const { [program(0, &[Read(0), Write(1)]), program(1, &[Read(1), Write(0)])] },
            ticks: 6,
            slice: 6,
            ..WORLD
        },
        Scenario {
            name: "skew in one range, with a reader",
            programs: &const { [program(0, &[Read(0), Write(2)]), program(1, &[Read(2), Write(0)]), program(0, &[Read(0), Read(2)])] },
            clocks: APART,
            ticks: 3,
            slice: 3,
            ..WORLD
        },
        Scenario {
            name: "lost update",
            programs: &const { [program(0, &[Write(0), Read(1)]), program(1, &[Write(0), Write(1)])] },
            ticks: 4,
            slice: 3,
            cuts: 1,
            ..WORLD
        },
        // A parallel commit whose coordinator dies, and who meets what it left.
        Scenario {
            name: "recovery",
            programs: &const { [program(0, &[Write(0), Write(1)]), program(1, &[Read(0), Read(1)])] },
            ticks: 6,
            slice: 4,
            crashes: 1,
            replays: 1,
            ..WORLD
        },
        Scenario {
            name: "recovery between writers",
            programs: &const { [program(0, &[Write(0), Write(1)]), program(1, &[Read(1), Write(0)]), program(1, &[Read(1)])] },
            clocks: RIGHT,
            ticks: 3,
            slice: 2,
            crashes: 1,
            ..WORLD
        },
        Scenario {
            name: "pushes",
            programs: &const { [program(0, &[Write(0), Write(1)]), program(1, &[Read(0), Read(1)]), program(1, &[Read(1)])] },
            clocks: APART,
            ticks: 3,
            slice: 2,
            ..WORLD
        },
        // The lease changes hands under a transaction that began before.
        Scenario {
            name: "lease change",
            programs: &const { [program(0, &[Read(0), Write(1)]), program(1, &[Read(1), Write(0)])] },
            ticks: 7,
            slice: 5,
            cuts: 1,
            ..WORLD
        },
        Scenario {
            name: "lease change, readers",
            programs: &const { [program(0, &[Write(0)]), program(1, &[Read(0)])] },
            ticks: 9,
            slice: 7,
            cuts: 1,
            ..WORLD
        },
        Scenario {
            name: "planned move",
            programs: &const { [program(0, &[Read(0), Write(1)]), program(1, &[Read(1), Write(0)])] },
            ticks: 5,
            slice: 3,
            moves: 2,
            ..WORLD
        },
        Scenario {
            name: "locked and not written",
            programs: &const { [program(0, &[Lock(0), Write(1)]), program(1, &[Lock(1), Write(0)])] },
            ticks: 4,
            slice: 4,
            cuts: 1,
            moves: 1,
            clocks: RIGHT,
            ..WORLD
        },
        Scenario {
            name: "lease change in a recovery",
            programs: &const { [program(0, &[Write(0), Write(1)]), program(1, &[Read(0), Read(1)])] },
            clocks: RIGHT,
            ticks: 6,
            slice: 2,
            crashes: 1,
            cuts: 1,
            replays: 1,
            ..WORLD
        },
    ]
}
