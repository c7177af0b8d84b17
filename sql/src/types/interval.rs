//! `interval`: months, days and microseconds, never normalised among each other.

mod format;
mod parse;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

pub use format::write_interval;
pub use parse::parse_interval;
pub(crate) use parse::{Unit, unit};

use super::datetime::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, round_micros};
use crate::error::{Result, SqlError, SqlState};

/// `interval`, unnormalised as PostgreSQL keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

// Field bits of the modifier: 1 << the datetime unit's number in PostgreSQL.
const MONTH: i32 = 1 << 1;
const YEAR: i32 = 1 << 2;
const DAY: i32 = 1 << 3;
const HOUR: i32 = 1 << 10;
const MINUTE: i32 = 1 << 11;
const SECOND: i32 = 1 << 12;
/// All fields.
pub const FULL_RANGE: i32 = 0x7FFF;
/// No precision given.
pub const FULL_PRECISION: i32 = 0xFFFF;

/// The field restrictions SQL can write after `interval`, with their bits.
pub const RANGES: &[(&str, i32)] = &[
    ("year", YEAR),
    ("month", MONTH),
    ("day", DAY),
    ("hour", HOUR),
    ("minute", MINUTE),
    ("second", SECOND),
    ("year to month", YEAR | MONTH),
    ("day to hour", DAY | HOUR),
    ("day to minute", DAY | HOUR | MINUTE),
    ("day to second", DAY | HOUR | MINUTE | SECOND),
    ("hour to minute", HOUR | MINUTE),
    ("hour to second", HOUR | MINUTE | SECOND),
    ("minute to second", MINUTE | SECOND),
];

/// The modifier of `interval [fields] [(precision)]`; `fields` in lower case (`day to second`).
pub fn make_typmod(fields: Option<&str>, precision: Option<i32>) -> Option<i32> {
    let range = match fields {
        None => FULL_RANGE,
        Some(name) => RANGES.iter().find(|(n, _)| *n == name)?.1,
    };
    if range == FULL_RANGE && precision.is_none() {
        return Some(-1);
    }
    Some((range << 16) | precision.unwrap_or(FULL_PRECISION))
}

/// What `format_type` appends to `interval`.
pub(super) fn typmod_suffix(typmod: i32) -> String {
    if typmod < 0 {
        return String::new();
    }
    let (range, precision) = ((typmod >> 16) & FULL_RANGE, typmod & FULL_PRECISION);
    let fields = RANGES.iter().find(|(_, bits)| *bits == range).map_or(String::new(), |(name, _)| format!(" {name}"));
    let precision = if precision == FULL_PRECISION { String::new() } else { format!("({precision})") };
    format!("{fields}{precision}")
}

/// Cuts to the fields and rounds to the precision of a modifier.
pub fn apply_typmod(i: Interval, typmod: i32) -> Result<Interval> {
    if typmod < 0 {
        return Ok(i);
    }
    let (range, precision) = ((typmod >> 16) & FULL_RANGE, typmod & FULL_PRECISION);
    // Fields to the right of the last one named are dropped; those to the left are kept.
    let whole_months = |m: i32| m / 12 * 12;
    let i = match range {
        YEAR => Interval { months: whole_months(i.months), days: 0, micros: 0 },
        r if r == MONTH || r == YEAR | MONTH => Interval { days: 0, micros: 0, ..i },
        DAY => Interval { micros: 0, ..i },
        r if r & SECOND != 0 || r == FULL_RANGE => i,
        r if r & MINUTE != 0 => Interval { micros: i.micros / MICROS_PER_MINUTE * MICROS_PER_MINUTE, ..i },
        r if r & HOUR != 0 => Interval { micros: i.micros / MICROS_PER_HOUR * MICROS_PER_HOUR, ..i },
        _ => i,
    };
    Ok(if precision == FULL_PRECISION { i } else { Interval { micros: round_micros(i.micros, precision), ..i } })
}

pub(crate) fn out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

impl Interval {
    /// Length in microseconds with days of 24 hours and months of 30 days: what intervals are compared by.
    pub fn span(&self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * i128::from(MICROS_PER_DAY) + i128::from(self.micros)
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.span() == other.span()
    }
}

impl Eq for Interval {}

impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> Ordering {
        self.span().cmp(&other.span())
    }
}

impl Hash for Interval {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.span().hash(state);
    }
}
