//! Standard workloads over the PostgreSQL wire, against any server: ours, PostgreSQL, others.
//!
//! ```text
//!   frame/connect   sessions, statements prepared once, retries of serialization failures (counted, never hidden)
//!   frame/stats     latencies and errors by transaction and by second
//!   frame/run       ramp, measurement, the terminal view, the JSON result
//!   tpcc            TPC-C 5.11: schema, population, the five transactions, the twelve consistency conditions
//!   report          results as one HTML page
//!   cost            what commit wait, validation and the reply rule cost: this one is about Meridian only
//!   plot            lines as SVG
//! ```
//! But for `cost` it knows nothing of Meridian but the protocol, so that a figure of ours and one of somebody else's come from the same client.

pub mod command;
pub mod cost;
pub mod frame;
pub mod plot;
pub mod report;
pub mod tpcc;
