//! `extract`, `date_part` and `date_trunc`.

use num_bigint::BigInt;

use super::calendar::*;
use super::zone::{Zone, local_to_utc, utc_to_local};
use crate::error::{Result, SqlError, SqlState};
use crate::types::interval::{Unit, unit};
use crate::types::{Interval, Numeric};

/// What a field is taken from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// `date`
    Date(i32),
    /// `time`
    Time(i64),
    /// `timetz`: microseconds, seconds west
    TimeTz(i64, i32),
    /// `timestamp`
    Timestamp(i64),
    /// `timestamptz` seen in a zone
    TimestampTz(i64, &'a Zone),
}

impl Source<'_> {
    fn type_name(&self) -> &'static str {
        match self {
            Source::Date(_) => "date",
            Source::Time(_) => "time without time zone",
            Source::TimeTz(..) => "time with time zone",
            Source::Timestamp(_) => "timestamp without time zone",
            Source::TimestampTz(..) => "timestamp with time zone",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Unit(Unit),
    Dow,
    IsoDow,
    Doy,
    IsoYear,
    Epoch,
    Julian,
    Zone,
    ZoneHour,
    ZoneMinute,
}

fn field(name: &str, ty: &str) -> Result<Field> {
    let lower = name.trim().to_ascii_lowercase();
    Ok(match lower.as_str() {
        "dow" => Field::Dow,
        "isodow" => Field::IsoDow,
        "doy" => Field::Doy,
        "isoyear" => Field::IsoYear,
        "epoch" => Field::Epoch,
        "julian" | "jd" | "j" => Field::Julian,
        "timezone" => Field::Zone,
        "timezone_hour" | "timezone_h" => Field::ZoneHour,
        "timezone_minute" | "timezone_m" => Field::ZoneMinute,
        _ => {
            let found = unit(&lower).map(Field::Unit);
            return found
                .ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unit \"{lower}\" not recognized for type {ty}")));
        }
    })
}

fn not_supported(name: &str, ty: &str) -> SqlError {
    let lower = name.trim().to_ascii_lowercase();
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("unit \"{lower}\" not supported for type {ty}"))
}

fn whole(n: i64) -> Option<Numeric> {
    Some(Numeric::from(n))
}

fn decimal(n: i128, scale: u32) -> Option<Numeric> {
    Some(Numeric::Finite(BigInt::from(n), scale))
}

/// `extract(name FROM source)`; None (NULL) for the parts an infinite value does not have.
pub fn extract(name: &str, source: Source<'_>) -> Result<Option<Numeric>> {
    let ty = source.type_name();
    let f = field(name, ty)?;
    match source {
        Source::Time(t) => time_field(f, t, None).ok_or_else(|| not_supported(name, ty)).map(Some),
        Source::TimeTz(t, west) => time_field(f, t, Some(west)).ok_or_else(|| not_supported(name, ty)).map(Some),
        Source::Date(d) => {
            let supported = !matches!(f, Field::Unit(Unit::Micro | Unit::Milli | Unit::Second | Unit::Minute | Unit::Hour))
                && !matches!(f, Field::Zone | Field::ZoneHour | Field::ZoneMinute);
            if !supported {
                return Err(not_supported(name, ty));
            }
            if !is_finite_date(d) {
                return Ok(infinite_field(f, d < 0));
            }
            Ok(match f {
                Field::Julian => whole(i64::from(d) + i64::from(EPOCH_JULIAN)),
                Field::Epoch => whole(i64::from(d) * 86_400 + UNIX_EPOCH_SECONDS),
                f => civil_field(f, i64::from(d), 0),
            })
        }
        Source::Timestamp(t) => {
            if is_finite(t) && matches!(f, Field::Zone | Field::ZoneHour | Field::ZoneMinute) {
                return Err(not_supported(name, ty));
            }
            Ok(timestamp_field(f, t, t, 0))
        }
        Source::TimestampTz(t, zone) => {
            let east = if is_finite(t) { zone.offset_at(t) } else { 0 };
            let local = if is_finite(t) { utc_to_local(t, zone)? } else { t };
            Ok(timestamp_field(f, t, local, east))
        }
    }
}

/// An infinite value has infinite years and epochs, and no other part.
fn infinite_field(f: Field, negative: bool) -> Option<Numeric> {
    let monotonic = matches!(
        f,
        Field::Unit(Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium) | Field::IsoYear | Field::Epoch | Field::Julian
    );
    monotonic.then_some(if negative { Numeric::NegInfinity } else { Numeric::Infinity })
}

fn timestamp_field(f: Field, instant: i64, local: i64, east: i32) -> Option<Numeric> {
    if !is_finite(instant) {
        return infinite_field(f, instant < 0);
    }
    let (days, micros) = (local.div_euclid(MICROS_PER_DAY), local.rem_euclid(MICROS_PER_DAY));
    match f {
        Field::Zone => whole(i64::from(east)),
        Field::ZoneHour => whole(i64::from(east / 3600)),
        Field::ZoneMinute => whole(i64::from(east / 60 % 60)),
        Field::Epoch => decimal(i128::from(instant) + i128::from(UNIX_EPOCH_SECONDS) * 1_000_000, 6),
        Field::Julian => {
            let fraction = Numeric::from(micros).div(&Numeric::from(MICROS_PER_DAY)).ok()?;
            Numeric::from(days + i64::from(EPOCH_JULIAN)).add(&fraction).ok()
        }
        f => civil_field(f, days, micros),
    }
}

/// Hours, minutes, seconds of a time of day or of an interval's time.
fn clock_field(unit: Unit, micros: i64) -> Option<Numeric> {
    let (h, m, s, us) = split_micros(micros);
    let in_minute = s * MICROS_PER_SECOND + us;
    match unit {
        Unit::Micro => whole(in_minute),
        Unit::Milli => decimal(i128::from(in_minute), 3),
        Unit::Second => decimal(i128::from(in_minute), 6),
        Unit::Minute => whole(m),
        Unit::Hour => whole(h),
        _ => None,
    }
}

fn time_field(f: Field, micros: i64, west: Option<i32>) -> Option<Numeric> {
    match (f, west) {
        (Field::Unit(unit), _) => clock_field(unit, micros),
        (Field::Epoch, west) => decimal(i128::from(micros) + i128::from(west.unwrap_or(0)) * 1_000_000, 6),
        (Field::Zone, Some(west)) => whole(i64::from(-west)),
        (Field::ZoneHour, Some(west)) => whole(i64::from(-west / 3600)),
        (Field::ZoneMinute, Some(west)) => whole(i64::from(-west / 60 % 60)),
        _ => None,
    }
}

/// ISO year and week of days since 2000-01-01.
pub fn iso_week(days: i64) -> (i32, i64) {
    // The week's Thursday decides the year.
    let monday = days - i64::from((weekday(days) + 6) % 7);
    let (year, _, _) = civil_from_days(monday + 3);
    let first = days_from_civil(year, 1, 4);
    let first_monday = first - i64::from((weekday(first) + 6) % 7);
    (year, (monday - first_monday) / 7 + 1)
}

/// First day of an ISO week.
pub fn iso_week_start(year: i32, week: i64) -> i64 {
    let first = days_from_civil(year, 1, 4);
    first - i64::from((weekday(first) + 6) % 7) + (week - 1) * 7
}

/// Without a year 0.
fn shown_year(year: i32) -> i64 {
    i64::from(if year > 0 { year } else { year - 1 })
}

fn civil_field(f: Field, days: i64, micros: i64) -> Option<Numeric> {
    let (year, month, day) = civil_from_days(days);
    let y = i64::from(year);
    match f {
        Field::Unit(unit) => match unit {
            Unit::Day => whole(i64::from(day)),
            Unit::Week => whole(iso_week(days).1),
            Unit::Month => whole(i64::from(month)),
            Unit::Quarter => whole(i64::from((month - 1) / 3 + 1)),
            Unit::Year => whole(shown_year(year)),
            Unit::Decade => whole(y.div_euclid(10)),
            Unit::Century => whole(if y > 0 { (y + 99) / 100 } else { -((100 - y) / 100) }),
            Unit::Millennium => whole(if y > 0 { (y + 999) / 1000 } else { -((1000 - y) / 1000) }),
            time => clock_field(time, micros),
        },
        Field::Dow => whole(i64::from(weekday(days))),
        Field::IsoDow => whole(i64::from((weekday(days) + 6) % 7 + 1)),
        Field::Doy => whole(days - days_from_civil(year, 1, 1) + 1),
        Field::IsoYear => whole(shown_year(iso_week(days).0)),
        _ => None,
    }
}

/// `extract(name FROM interval)`
pub fn extract_interval(name: &str, i: &Interval) -> Result<Numeric> {
    let f = field(name, "interval")?;
    let (years, months) = (i64::from(i.months / 12), i64::from(i.months % 12));
    let value = match f {
        Field::Unit(unit) => match unit {
            Unit::Day => whole(i64::from(i.days)),
            Unit::Month => whole(months),
            Unit::Quarter => whole(months / 3 + 1),
            Unit::Year => whole(years),
            Unit::Decade => whole(years / 10),
            Unit::Century => whole(years / 100),
            Unit::Millennium => whole(years / 1000),
            Unit::Week => None,
            time => clock_field(time, i.micros),
        },
        Field::Epoch => {
            // A year of 365.25 days: counted in quarter days.
            let quarters = i128::from(years) * 1461 + i128::from(months) * 120 + i128::from(i.days) * 4;
            decimal(quarters * 21_600 * 1_000_000 + i128::from(i.micros), 6)
        }
        _ => None,
    };
    value.ok_or_else(|| not_supported(name, "interval"))
}

/// First year of the decade, century or millennium, as PostgreSQL counts them.
fn trunc_year(unit: Unit, year: i32) -> i32 {
    match unit {
        Unit::Millennium => {
            if year > 0 {
                (year + 999) / 1000 * 1000 - 999
            } else {
                -((999 - (year - 1)) / 1000) * 1000 + 1
            }
        }
        Unit::Century => {
            if year > 0 {
                (year + 99) / 100 * 100 - 99
            } else {
                -((99 - (year - 1)) / 100) * 100 + 1
            }
        }
        Unit::Decade => {
            if year > 0 {
                year / 10 * 10
            } else {
                -((8 - (year - 1)) / 10) * 10
            }
        }
        _ => year,
    }
}

fn trunc_local(unit: Unit, local: i64) -> Result<i64> {
    let civil = Civil::of(local);
    let days = local.div_euclid(MICROS_PER_DAY);
    let cut = |step: i64| Ok(local - local.rem_euclid(step));
    match unit {
        Unit::Micro => Ok(local),
        Unit::Milli => cut(1000),
        Unit::Second => cut(MICROS_PER_SECOND),
        Unit::Minute => cut(MICROS_PER_MINUTE),
        Unit::Hour => cut(MICROS_PER_HOUR),
        Unit::Day => cut(MICROS_PER_DAY),
        Unit::Week => {
            let (year, week) = iso_week(days);
            iso_week_start(year, week).checked_mul(MICROS_PER_DAY).ok_or_else(timestamp_range).and_then(check_timestamp)
        }
        Unit::Month => Civil { day: 1, micros: 0, ..civil }.timestamp(),
        Unit::Quarter => Civil { month: (civil.month - 1) / 3 * 3 + 1, day: 1, micros: 0, ..civil }.timestamp(),
        unit => Civil { year: trunc_year(unit, civil.year), month: 1, day: 1, micros: 0 }.timestamp(),
    }
}

fn trunc_unit(name: &str, ty: &str) -> Result<Unit> {
    match field(name, ty)? {
        Field::Unit(unit) => Ok(unit),
        _ => Err(not_supported(name, ty)),
    }
}

/// `date_trunc(name, timestamp)`
pub fn date_trunc(name: &str, t: i64) -> Result<i64> {
    let unit = trunc_unit(name, "timestamp without time zone")?;
    if is_finite(t) { trunc_local(unit, t) } else { Ok(t) }
}

/// `date_trunc(name, timestamptz)` by the calendar of `zone`.
pub fn date_trunc_tz(name: &str, t: i64, zone: &Zone) -> Result<i64> {
    let unit = trunc_unit(name, "timestamp with time zone")?;
    if !is_finite(t) {
        return Ok(t);
    }
    let local = utc_to_local(t, zone)?;
    let cut = trunc_local(unit, local)?;
    match unit {
        // Within a day the offset stays that of the instant: the hour that occurs twice is kept apart.
        Unit::Micro | Unit::Milli | Unit::Second | Unit::Minute | Unit::Hour => Ok(t - (local - cut)),
        _ => local_to_utc(cut, zone),
    }
}

/// `date_trunc(name, interval)`
pub fn date_trunc_interval(name: &str, i: &Interval) -> Result<Interval> {
    let unit = trunc_unit(name, "interval")?;
    let months = |step: i32| Interval { months: i.months / step * step, days: 0, micros: 0 };
    let micros = |step: i64| Interval { micros: i.micros / step * step, ..*i };
    Ok(match unit {
        Unit::Micro => *i,
        Unit::Milli => micros(1000),
        Unit::Second => micros(MICROS_PER_SECOND),
        Unit::Minute => micros(MICROS_PER_MINUTE),
        Unit::Hour => micros(MICROS_PER_HOUR),
        Unit::Day => Interval { micros: 0, ..*i },
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
        Unit::Decade => months(120),
        Unit::Century => months(1200),
        Unit::Millennium => months(12_000),
        Unit::Week => {
            return Err(not_supported(name, "interval").detail("Months usually have fractional weeks."));
        }
    })
}
