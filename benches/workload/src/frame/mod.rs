//! What all workloads share: see the crate's essay.

pub mod connect;
pub mod run;
pub mod stats;
