//! The executor over a real transactional store in one process, with plans made by hand.

mod dml;
mod fixture;
mod properties;
mod reads;
