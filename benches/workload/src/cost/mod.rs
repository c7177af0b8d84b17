//! What strictness costs: the same few operations at several bounds on the clock's error, near and far from the other replicas.
//!
//! ```text
//!   operations   what is timed, one client in a closed loop
//!   measure      one cluster: finds a gateway that leads what the operations touch, runs them in turns, reads the gateway's counters around them
//!   report       the figures of several clusters as a table (Markdown) and a plot (SVG)
//! ```
//! Unlike TPC-C this knows Meridian: it splits a table into ranges, asks who leads them, and reads the past. Latencies include the client's own round
//! trips over loopback. The operations take turns in small blocks, so that whatever else the machine does meets all of them alike.

pub mod measure;
pub mod operations;
pub mod report;

use serde::{Deserialize, Serialize};

/// The figures of one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Which arrangement of replicas.
    pub topology: String,
    /// The bound on the clock's error that the nodes work with, in milliseconds.
    pub epsilon_ms: f64,
    /// The round trip from the leaseholder to the nearest other replica, in milliseconds, if it is known beforehand.
    pub round_trip_ms: Option<f64>,
    /// What the server says it is.
    pub server: String,
    /// The node that was the gateway.
    pub gateway: i32,
    /// In the order of [`operations::Operation::ALL`].
    pub operations: Vec<Figures>,
}

/// The figures of one operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Which.
    pub name: String,
    /// How often it ran.
    pub samples: u64,
    /// Began again because of a serialization failure; not timed.
    pub retries: u64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// Latency that 99 of 100 stay below; of fewer than 100 samples the greatest.
    pub p99_ms: f64,
    /// Mean time that the reply rule held the answers of one operation back, in milliseconds. `None` here and below: the server does not count it.
    pub reply_wait_ms: Option<f64>,
    /// Mean time that one operation spent asking leaseholders whether its reads hold, in milliseconds.
    pub validation_ms: Option<f64>,
    /// How often, per operation.
    pub validations: Option<f64>,
}
