//! Whole-system tests of Meridian: what they share.

pub mod bank;
pub mod process;
pub mod sim;
pub mod tls;
