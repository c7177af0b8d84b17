//! The calendar: Julian days, limits, rounding, and the plain conversions between dates and timestamps.

use crate::error::{Result, SqlError, SqlState};

/// Microseconds in a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
/// Microseconds in an hour.
pub const MICROS_PER_HOUR: i64 = 3600 * MICROS_PER_SECOND;
/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// Julian day of 2000-01-01.
pub const EPOCH_JULIAN: i32 = 2_451_545;
/// Seconds from 1970-01-01 to 2000-01-01.
pub const UNIX_EPOCH_SECONDS: i64 = 946_684_800;
/// First valid timestamp: 4714-11-24 BC.
pub const MIN_TIMESTAMP: i64 = -211_813_488_000_000_000;
/// First timestamp that is too late: 294277-01-01.
pub const END_TIMESTAMP: i64 = 9_223_371_331_200_000_000;
/// First valid date.
pub const MIN_DATE: i32 = -EPOCH_JULIAN;
/// First date that is too late: 5874898-06-03.
pub const END_DATE: i32 = 2_147_483_494 - EPOCH_JULIAN;

/// Whether a timestamp is neither −infinity nor infinity.
pub fn is_finite(t: i64) -> bool {
    t != i64::MIN && t != i64::MAX
}

/// Whether a date is neither −infinity nor infinity.
pub fn is_finite_date(d: i32) -> bool {
    d != i32::MIN && d != i32::MAX
}

pub(crate) fn timestamp_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

pub(crate) fn date_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

/// The timestamp, if it is in range or infinite; `22008` otherwise.
pub fn check_timestamp(t: i64) -> Result<i64> {
    if !is_finite(t) || (MIN_TIMESTAMP..END_TIMESTAMP).contains(&t) { Ok(t) } else { Err(timestamp_range()) }
}

/// The date, if it is in range or infinite; `22008` otherwise.
pub fn check_date(d: i32) -> Result<i32> {
    if !is_finite_date(d) || (MIN_DATE..END_DATE).contains(&d) { Ok(d) } else { Err(date_range()) }
}

/// Julian day of a date; wide enough for any `i32` year.
pub fn to_julian(year: i64, month: i64, day: i64) -> i64 {
    // Days from civil, with March as the first month so that the leap day is last.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    // 1721120 is the Julian day of 0000-03-01.
    era * 146_097 + doe + 1_721_120
}

/// Year (astronomical), month, day of a Julian day.
pub fn from_julian(julian: i64) -> (i32, u32, u32) {
    let z = julian - 1_721_120;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year as i32, month as u32, day as u32)
}

/// Days since 2000-01-01 of a date (not range-checked).
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i64 {
    to_julian(i64::from(year), i64::from(month), i64::from(day)) - i64::from(EPOCH_JULIAN)
}

/// Year (astronomical), month, day of days since 2000-01-01.
pub fn civil_from_days(days: i64) -> (i32, u32, u32) {
    from_julian(days + i64::from(EPOCH_JULIAN))
}

/// Whether a year (astronomical) has 366 days.
pub fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days in a month (1 to 12).
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Day of the week of days since 2000-01-01: 0 is Sunday.
pub fn weekday(days: i64) -> u32 {
    // 2000-01-01 was a Saturday.
    (days + 6).rem_euclid(7) as u32
}

/// A timestamp cut into calendar fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Astronomical year.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// Microseconds since midnight.
    pub micros: i64,
}

impl Civil {
    /// The fields of a finite timestamp.
    pub fn of(t: i64) -> Civil {
        let (year, month, day) = civil_from_days(t.div_euclid(MICROS_PER_DAY));
        Civil { year, month, day, micros: t.rem_euclid(MICROS_PER_DAY) }
    }
    /// Back to a timestamp; `22008` out of range.
    pub fn timestamp(&self) -> Result<i64> {
        let days = days_from_civil(self.year, self.month, self.day);
        days.checked_mul(MICROS_PER_DAY)
            .and_then(|t| t.checked_add(self.micros))
            .ok_or_else(timestamp_range)
            .and_then(|t| if is_finite(t) { check_timestamp(t) } else { Err(timestamp_range()) })
    }
    /// Hour, minute, second, microsecond.
    pub fn clock(&self) -> (i64, i64, i64, i64) {
        split_micros(self.micros)
    }
}

/// Hours, minutes, seconds, microseconds.
pub fn split_micros(micros: i64) -> (i64, i64, i64, i64) {
    (micros / MICROS_PER_HOUR, micros / MICROS_PER_MINUTE % 60, micros / MICROS_PER_SECOND % 60, micros % MICROS_PER_SECOND)
}

/// `date` → `timestamp`
pub fn date_to_timestamp(d: i32) -> Result<i64> {
    match d {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => {
            let t = i64::from(d).checked_mul(MICROS_PER_DAY).filter(|t| (MIN_TIMESTAMP..END_TIMESTAMP).contains(t));
            t.ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp"))
        }
    }
}

/// `timestamp` → `date`
pub fn timestamp_to_date(t: i64) -> Result<i32> {
    match t {
        i64::MIN => Ok(i32::MIN),
        i64::MAX => Ok(i32::MAX),
        _ => i32::try_from(t.div_euclid(MICROS_PER_DAY)).map_err(|_| date_range()),
    }
}

/// Rounds microseconds to `precision` fractional digits of a second, half away from zero.
pub fn round_micros(micros: i64, precision: i32) -> i64 {
    if !(0..6).contains(&precision) {
        return micros;
    }
    let unit = 10i64.pow(6 - precision as u32);
    let half = unit / 2;
    if micros >= 0 { (micros.saturating_add(half)) / unit * unit } else { -((-micros).saturating_add(half) / unit * unit) }
}

/// Rounds a timestamp to `precision` fractional digits.
pub fn round_timestamp(t: i64, precision: i32) -> Result<i64> {
    if is_finite(t) { check_timestamp(round_micros(t, precision)) } else { Ok(t) }
}
