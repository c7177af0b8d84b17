//! Standard workloads over the PostgreSQL wire, against any server: ours, PostgreSQL, others.
//!
//! ```text
//!   frame/connect   sessions, statements prepared once, retries of serialization failures (counted, never hidden)
//!   frame/client    one emulated user's loop; what a transaction is says the workload (`User`)
//!   frame/load      tables loaded by COPY, in parts, over several sessions
//!   frame/random    uniform, zipfian and latest keys
//!   frame/stats     latencies and errors by transaction and by second
//!   frame/run       ramp, measurement, the terminal view
//!   frame/outcome   the figures, as a table and as JSON
//!   tpcc            TPC-C 5.11: schema, population, the five transactions, the twelve consistency conditions
//!   bank            transfers and audits; the total is constant
//!   kv              reads and writes of single keys or batches
//!   ycsb            the six core workloads
//!   tpch            the tables and queries of TPC-H
//!   cost            what commit wait, validation and the reply rule cost: this one is about Meridian only
//!   report, svg     results as one HTML page
//!   panels          plots side by side, as a file
//!   compare         what scripts/bench-compare measured, as a table and as bars
//! ```
//! But for `cost` it knows nothing of Meridian but the protocol, so that a figure of ours and one of somebody else's come from the same client.

pub mod bank;
pub mod command;
pub mod compare;
pub mod cost;
pub mod frame;
pub mod kv;
mod panels;
pub mod report;
mod svg;
pub mod tpcc;
pub mod tpch;
pub mod ycsb;
