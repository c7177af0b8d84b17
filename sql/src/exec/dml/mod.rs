//! INSERT, UPDATE, DELETE.
//!
//! ```text
//!   source batch → new rows → generated columns → NOT NULL, CHECK → unique keys (one batched locking get) → buffered writes → RETURNING
//! ```
//! The source never sees what the statement writes (`KvTxn::begin_statement`), so there is no Halloween problem; locking reads do see it, so that a
//! key inserted a moment ago by the same statement counts as there. Rows of a batch are applied one after the other, as PostgreSQL does,
//! over a map of the unique keys involved: `UPDATE t SET id = id + 1` meets the same conflicts.
//!
//! A statement that is the whole transaction and fits one batch does not read the keys it inserts: it writes with [`Expect::Absent`] and the commit
//! decides. [`describe::unique_violation_of`] then names the constraint.

pub mod checks;
pub mod delete;
pub mod describe;
pub mod insert;
pub mod update;
pub mod writer;

pub use describe::{describe_key, unique_violation_of};
pub use writer::TableWriter;
