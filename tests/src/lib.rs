//! Machinery of the tests that run the whole system: the simulator, and the comparisons with PostgreSQL 15.

pub mod differential;
pub mod sim;
pub mod transcript;
