//! TPC-H: eight tables, populated as `dbgen` does it but from randomness of our own (a function of the seed and the row's key), and the 22 queries
//! with the specification's validation parameters. Not a TPC-H result: there are no refresh functions and no substituted parameters, so that two
//! servers can be asked exactly the same, and their answers compared (`--answers`).
//!
//! ```text
//!   schema        tables, and indexes of the foreign keys
//!   generate      one row of a table by its key
//!   load          the population, by COPY in parts; what is there already is skipped
//!   queries.sql   the queries, in order
//!   run           queries in streams, each timed
//! ```
//! Section numbers in comments are those of the specification, revision 3.

mod generate;
pub mod load;
pub mod run;
mod schema;

/// The names of the queries, in the order of the figures.
pub const KINDS: [&str; 22] = [
    "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15", "q16", "q17", "q18", "q19", "q20",
    "q21", "q22",
];
