//! Aggregates: accumulators with exact result types, all mergeable where PostgreSQL's parallel aggregation could merge them.
//!
//! An accumulator sees rows already filtered (and de-duplicated for DISTINCT, sorted for `ORDER BY` inside the call). NULL
//! handling is the accumulator's: all built-in ones but `count(*)`, `array_agg` and the JSON ones skip rows with a NULL argument.
//! Partial states are short rows of datums, so that a leaseholder can send them to the gateway.

mod basic;
mod collect;
mod floats;
mod intervals;
mod json;
mod sums;
#[cfg(test)]
mod tests;

use super::FunctionBody;
use super::args::Entry;
use crate::types::DataType;

pub(super) const TOPICS: &[&[Entry]] = &[
    basic::ENTRIES,
    basic::EXTREMES,
    collect::ENTRIES,
    floats::ONE,
    floats::TWO,
    floats::SUMS,
    intervals::ENTRIES,
    json::ENTRIES,
    sums::FAMILY,
    sums::SUMS,
];

/// An aggregate entry with its partial types.
const fn agg(key: &'static str, new: fn(&[DataType]) -> Box<dyn super::Accumulator>, partial: &'static [DataType]) -> Entry {
    (key, FunctionBody::Aggregate { new, partial })
}
