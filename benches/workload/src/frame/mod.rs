//! What all workloads share: see the crate's essay.

pub mod client;
pub mod connect;
pub mod load;
pub mod machine;
pub mod outcome;
pub mod random;
pub mod run;
pub mod stats;

/// How to run, whatever the workload.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Gateways; sessions are dealt to them in turn.
    pub urls: Vec<String>,
    /// Sessions.
    pub connections: usize,
    /// Ramp and measurement.
    pub length: run::Length,
    /// Randomness.
    pub seed: u64,
}
