//! Standard workloads over the PostgreSQL wire, against any server: ours, PostgreSQL, others.
//!
//! ```text
//!   frame/connect   sessions, statements prepared once, retries of serialization failures (counted, never hidden)
//!   frame/stats     latencies and errors by transaction and by second
//!   frame/run       ramp, measurement, the terminal view, the JSON result
//!   tpcc            TPC-C 5.11: schema, population, the five transactions, the twelve consistency conditions
//!   report, svg     results as one HTML page
//!   compare         what scripts/bench-compare measured, as a table and as bars
//! ```
//! It knows nothing of Meridian but the protocol, so that a figure of ours and one of somebody else's come from the same client.

pub mod command;
pub mod compare;
pub mod frame;
pub mod report;
mod svg;
pub mod tpcc;
