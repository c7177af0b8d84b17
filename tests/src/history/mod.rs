//! Histories: what clients did and saw, in one format, and one checker that says whether a strictly serializable database could have answered so.
//!
//! ```text
//!   format    a transaction as its client saw it; JSON lines           index   who wrote what, who took effect, what each one saw
//!   order     from versions to edges: ww, wr, rw, real time            graph   components and short cycles
//!   class     which anomaly a cycle is, by its shape                   story   the cycle, told so that a reader can check it by hand
//! ```
//!
//! The method is Elle's (Kingsbury and Alvaro, VLDB 2020). A transaction is a node; an edge `A → B` means that A comes before B in every order of
//! all transactions that explains what was seen:
//!
//! ```text
//!   wr   A wrote the version that B read             ww   B's version of a key follows A's
//!   rw   A read a version that B's follows           rt   A was answered before B began
//! ```
//! The history is strictly serializable only if there is no cycle. Every edge is certain, so every cycle is a violation: nothing is reported on suspicion.
//! Where the order of versions comes from:
//!
//! * **Lists** carry it themselves: each append adds a unique element, so every list that was read tells all versions before it.
//! * **Registers** are written with unique values. A version that a transaction read and then replaced is followed at once by its own; a version
//!   that was there at some moment is followed by every write that began later; and "no row" comes before everything.
//! * **Scans** are predicate reads: all rows whose key begins with a prefix. A row that is missing was read as "no row".
//! * The simulator, which can look into the replicas, hands the order in ([`check_ordered`]).
//!
//! A transaction with an unknown outcome counts as soon as somebody saw a value of it; one that is reported as failed must never be seen.

mod check;
mod class;
mod format;
mod graph;
mod index;
mod order;
mod story;

pub use check::{Anomaly, Orders, Verdict, check, check_ordered};
pub use class::Class;
pub use format::{Header, History, HistoryError, Op, Outcome, Txn};
pub use story::line;
