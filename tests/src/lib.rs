//! Machinery of the tests that run the whole system: the simulator, real processes, and the comparisons with PostgreSQL 15.

pub mod bank;
pub mod chaos;
pub mod differential;
pub mod history;
pub mod isolation;
pub mod process;
pub mod sim;
pub mod tls;
pub mod transcript;
pub mod wire;
pub mod workloads;
