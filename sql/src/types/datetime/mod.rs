//! Dates and times: PostgreSQL's calendar, zones, text forms and arithmetic.
//!
//! A `date` is days and a `timestamp` microseconds since 2000-01-01 in the proleptic Gregorian calendar, from 4713 BC to
//! 5874897 (dates) or 294276 (timestamps); the extreme integers are ∓infinity. A `timestamptz` is a `timestamp` in UTC.
//! Years are astronomical inside (0 is 1 BC). Zone offsets are seconds *east* of UTC everywhere but in [`super::Datum::TimeTz`].

mod arith;
mod calendar;
mod decode;
mod fields;
mod format;
mod tokens;
mod zone;

pub use arith::*;
pub use calendar::*;
pub use decode::{parse_date, parse_time, parse_timestamp, parse_timestamptz, parse_timetz};
pub use fields::{Source, date_trunc, date_trunc_interval, date_trunc_tz, extract, extract_interval, iso_week, iso_week_start};
pub use format::{
    DateOrder, DateStyle, write_date, write_iso_date, write_iso_timestamp, write_iso_timestamptz, write_time, write_timestamp,
    write_timestamptz, write_timetz,
};
pub use zone::{Zone, abbreviations, current_zone_offset, find_zone, timestamp_to_timestamptz, timestamptz_to_timestamp, timezone_setting};

pub(crate) use format::write_fraction;
