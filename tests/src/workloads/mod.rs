//! Workloads over SQL, for any server that speaks PostgreSQL's protocol: what clients do, recorded as a [`crate::history::History`].
//!
//! ```text
//!   list append      appends to lists and reads of them, several a transaction; text, array and a row per element        every cycle
//!   register         blind writes, reads, reads for update                                                              every cycle
//!   bank, bank across tables   transfers and audits                                                                     the total; lost update
//!   long fork        rows written once, readers that read several of them                                               long fork
//!   monotonic        one counter, incremented and read                                                                  non-monotonic reads
//!   sets             rows added, all read                                                                               lost elements
//!   sequential       one client writes x, then y; another reads y, then x                                               process order
//!   causal reverse, comments   rows added one after the other; all read, in one table or in three                       T1 < T2, T2 seen alone
//!   write skew       read two, write one                                                                                G2-item
//!   phantom          look for rows, add one if there is none                                                            G2
//! ```
//! What a client does comes from a seed ([`Workload::draw`]); [`Load`] runs clients at several gateways until it is told to stop.

mod actions;
mod connection;
mod load;

pub use actions::{Action, Shared};
pub use connection::{ANSWER_LIMIT, Connection, Failure};
pub use load::{Load, LoadPlan, run_for};

/// What the clients of one run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Lists.
    ListAppend,
    /// Registers.
    Register,
    /// Accounts in one table.
    Bank,
    /// Accounts in two tables.
    BankAcrossTables,
    /// Rows written once.
    LongFork,
    /// A counter.
    Monotonic,
    /// Rows added, all read.
    Sets,
    /// Two writes in the order of one client.
    Sequential,
    /// Rows added one after the other.
    CausalReverse,
    /// The same, over three tables.
    Comments,
    /// Read two, write one.
    WriteSkew,
    /// Look, and add if there is nothing.
    Phantom,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 12] = [
        Workload::ListAppend,
        Workload::Register,
        Workload::Bank,
        Workload::BankAcrossTables,
        Workload::LongFork,
        Workload::Monotonic,
        Workload::Sets,
        Workload::Sequential,
        Workload::CausalReverse,
        Workload::Comments,
        Workload::WriteSkew,
        Workload::Phantom,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Workload::ListAppend => "list-append",
            Workload::Register => "register",
            Workload::Bank => "bank",
            Workload::BankAcrossTables => "bank-across-tables",
            Workload::LongFork => "long-fork",
            Workload::Monotonic => "monotonic",
            Workload::Sets => "sets",
            Workload::Sequential => "sequential",
            Workload::CausalReverse => "causal-reverse",
            Workload::Comments => "comments",
            Workload::WriteSkew => "write-skew",
            Workload::Phantom => "phantom",
        }
    }
}

/// Isolation levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// SERIALIZABLE.
    Serializable,
    /// REPEATABLE READ.
    RepeatableRead,
    /// READ COMMITTED.
    ReadCommitted,
}

impl Level {
    /// Its name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Level::Serializable => "serializable",
            Level::RepeatableRead => "repeatable read",
            Level::ReadCommitted => "read committed",
        }
    }
}
