//! Whole-system tests of Meridian: what they share.

pub mod bank;
pub mod differential;
pub mod process;
pub mod sim;
pub mod tls;
pub mod transcript;
