//! Machinery of the tests that run the whole system.

pub mod process;
pub mod sim;
pub mod wire;
