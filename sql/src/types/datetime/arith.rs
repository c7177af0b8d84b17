//! Arithmetic on dates, times and intervals, as plain functions for the operators.

use super::calendar::*;
use super::zone::{local_to_utc, utc_to_local, zone_or_error};
use crate::error::{Result, SqlError, SqlState};
use crate::types::Interval;
use crate::types::interval;

/// `timestamp + interval`: months first (clamped to the month's end), then days, then microseconds.
pub fn timestamp_add(t: i64, i: &Interval) -> Result<i64> {
    if !is_finite(t) {
        return Ok(t);
    }
    let moved = add_months_days(t, i.months, i.days)?;
    moved.checked_add(i.micros).ok_or_else(timestamp_range).and_then(finite_checked)
}

fn finite_checked(t: i64) -> Result<i64> {
    if is_finite(t) { check_timestamp(t) } else { Err(timestamp_range()) }
}

fn add_months_days(t: i64, months: i32, days: i32) -> Result<i64> {
    let mut t = t;
    if months != 0 {
        let mut civil = Civil::of(t);
        let total = i64::from(civil.year) * 12 + i64::from(civil.month) - 1 + i64::from(months);
        civil.year = i32::try_from(total.div_euclid(12)).map_err(|_| timestamp_range())?;
        civil.month = total.rem_euclid(12) as u32 + 1;
        civil.day = civil.day.min(days_in_month(civil.year, civil.month));
        t = civil.timestamp()?;
    }
    if days != 0 {
        t = i64::from(days).checked_mul(MICROS_PER_DAY).and_then(|d| t.checked_add(d)).ok_or_else(timestamp_range)?;
        t = finite_checked(t)?;
    }
    Ok(t)
}

/// `timestamptz + interval`: months and days by the local calendar of `zone`, microseconds as they are.
pub fn timestamptz_add(t: i64, i: &Interval, zone: &str) -> Result<i64> {
    if !is_finite(t) {
        return Ok(t);
    }
    let mut t = t;
    if i.months != 0 || i.days != 0 {
        let zone = zone_or_error(zone)?;
        // Each step goes back to UTC, so that a local time in a gap is resolved before days are added, as PostgreSQL does.
        if i.months != 0 {
            t = local_to_utc(add_months_days(utc_to_local(t, &zone)?, i.months, 0)?, &zone)?;
        }
        if i.days != 0 {
            t = local_to_utc(add_months_days(utc_to_local(t, &zone)?, 0, i.days)?, &zone)?;
        }
    }
    t.checked_add(i.micros).ok_or_else(timestamp_range).and_then(finite_checked)
}

/// `timestamp - timestamp` (of either kind): days and a time, no months.
pub fn timestamp_diff(a: i64, b: i64) -> Result<Interval> {
    if !is_finite(a) || !is_finite(b) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(interval::out_of_range)?;
    Ok(justify_hours(&Interval { months: 0, days: 0, micros }).unwrap_or(Interval { months: 0, days: 0, micros }))
}

/// `age(a, b)` of two local timestamps: years, months, days and time between them.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if !is_finite(a) || !is_finite(b) {
        return Err(timestamp_range());
    }
    let (x, y) = (Civil::of(a), Civil::of(b));
    let negative = a < b;
    let (early, late) = if negative { (x, y) } else { (y, x) };
    let mut years = i64::from(late.year) - i64::from(early.year);
    let mut months = i64::from(late.month) - i64::from(early.month);
    let mut days = i64::from(late.day) - i64::from(early.day);
    let mut micros = late.micros - early.micros;
    while micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    while days < 0 {
        // Borrow the length of the month the earlier date is in.
        days += i64::from(days_in_month(early.year, early.month));
        months -= 1;
    }
    while months < 0 {
        months += 12;
        years -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(Interval { months: ((years * 12 + months) * sign) as i32, days: (days * sign) as i32, micros: micros * sign })
}

/// `date + integer`
pub fn date_add(d: i32, days: i32) -> Result<i32> {
    if !is_finite_date(d) {
        return Ok(d);
    }
    let sum = d.checked_add(days).ok_or_else(date_range)?;
    if is_finite_date(sum) { check_date(sum) } else { Err(date_range()) }
}

/// `date - date`
pub fn date_diff(a: i32, b: i32) -> Result<i32> {
    if !is_finite_date(a) || !is_finite_date(b) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"));
    }
    a.checked_sub(b).ok_or_else(date_range)
}

/// `date + time`
pub fn date_time(d: i32, micros: i64) -> Result<i64> {
    let t = date_to_timestamp(d)?;
    if is_finite(t) { t.checked_add(micros).ok_or_else(timestamp_range).and_then(check_timestamp) } else { Ok(t) }
}

/// `time + interval`: the time of day, around midnight.
pub fn time_add(t: i64, i: &Interval) -> i64 {
    (i128::from(t) + i128::from(i.micros)).rem_euclid(i128::from(MICROS_PER_DAY)) as i64
}

/// `interval + interval`
pub fn interval_add(a: &Interval, b: &Interval) -> Result<Interval> {
    let fields = (a.months.checked_add(b.months), a.days.checked_add(b.days), a.micros.checked_add(b.micros));
    match fields {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval::out_of_range()),
    }
}

/// `-interval`
pub fn interval_neg(a: &Interval) -> Result<Interval> {
    match (a.months.checked_neg(), a.days.checked_neg(), a.micros.checked_neg()) {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval::out_of_range()),
    }
}

/// `interval - interval`
pub fn interval_sub(a: &Interval, b: &Interval) -> Result<Interval> {
    let fields = (a.months.checked_sub(b.months), a.days.checked_sub(b.days), a.micros.checked_sub(b.micros));
    match fields {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(interval::out_of_range()),
    }
}

fn checked_i32(x: f64) -> Result<i32> {
    if (-2_147_483_648.0..2_147_483_648.0).contains(&x) { Ok(x as i32) } else { Err(interval::out_of_range()) }
}

/// Rounds away the noise of binary fractions, as PostgreSQL's `TSROUND`.
fn round_micro(x: f64) -> f64 {
    (x * 1e6).round_ties_even() / 1e6
}

/// Scales months, days and microseconds, carrying fractions downwards.
fn scale(a: &Interval, multiply: impl Fn(f64) -> f64) -> Result<Interval> {
    let months_real = multiply(f64::from(a.months));
    let months = checked_i32(months_real)?;
    let days_real = multiply(f64::from(a.days));
    let days = checked_i32(days_real)?;
    let month_days = round_micro((months_real - f64::from(months)) * 30.0);
    let mut seconds = round_micro((days_real - f64::from(days) + month_days - month_days.trunc()) * 86_400.0);
    let mut extra_days = month_days.trunc();
    if seconds.abs() >= 86_400.0 {
        let whole = (seconds / 86_400.0).trunc();
        extra_days += whole;
        seconds -= whole * 86_400.0;
    }
    let days = checked_i32(f64::from(days) + extra_days)?;
    let micros = (multiply(a.micros as f64) + seconds * 1e6).round_ties_even();
    if micros.is_nan() || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
        return Err(interval::out_of_range());
    }
    Ok(Interval { months, days, micros: micros as i64 })
}

/// `interval * float8`
pub fn interval_mul(a: &Interval, factor: f64) -> Result<Interval> {
    scale(a, |x| x * factor)
}

/// `interval / float8`
pub fn interval_div(a: &Interval, divisor: f64) -> Result<Interval> {
    if divisor == 0.0 {
        return Err(SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"));
    }
    scale(a, |x| x / divisor)
}

/// `justify_hours`: 24 hours to a day, signs made to agree.
pub fn justify_hours(a: &Interval) -> Result<Interval> {
    let whole = a.micros / MICROS_PER_DAY;
    let mut days = i64::from(a.days) + whole;
    let mut micros = a.micros - whole * MICROS_PER_DAY;
    if days > 0 && micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= MICROS_PER_DAY;
        days += 1;
    }
    Ok(Interval { months: a.months, days: i32::try_from(days).map_err(|_| interval::out_of_range())?, micros })
}

/// `justify_days`: 30 days to a month, signs made to agree.
pub fn justify_days(a: &Interval) -> Result<Interval> {
    let whole = a.days / 30;
    let mut months = i64::from(a.months) + i64::from(whole);
    let mut days = a.days - whole * 30;
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    Ok(Interval { months: i32::try_from(months).map_err(|_| interval::out_of_range())?, days, micros: a.micros })
}

/// `justify_interval`: both, and one sign for all fields.
pub fn justify_interval(a: &Interval) -> Result<Interval> {
    // Hours are carried first where days and hours agree in sign, so that the days carried do not overflow early.
    let whole = a.micros / MICROS_PER_DAY;
    let mut micros = a.micros - whole * MICROS_PER_DAY;
    let mut days = i64::from(a.days) + whole;
    let carried = days / 30;
    let mut months = i64::from(a.months) + carried;
    days -= carried * 30;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        days += 30;
        months -= 1;
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        days -= 30;
        months += 1;
    }
    if days > 0 && micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= MICROS_PER_DAY;
        days += 1;
    }
    Ok(Interval { months: i32::try_from(months).map_err(|_| interval::out_of_range())?, days: days as i32, micros })
}

/// `timestamp AT TIME ZONE interval` and the like: a fixed offset in seconds east from an interval without months and days.
pub fn interval_zone(i: &Interval) -> Result<i64> {
    if i.months != 0 || i.days != 0 {
        let mut text = String::new();
        interval::write_interval(&mut text, i, "postgres");
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("interval time zone \"{text}\" must not include months or days"),
        ));
    }
    Ok(i.micros / MICROS_PER_SECOND)
}

/// `timetz AT TIME ZONE …`: the same instant in a zone `west` seconds west of UTC.
pub fn timetz_at(micros: i64, zone: i32, west: i32) -> (i64, i32) {
    let shifted = micros + (i64::from(zone) - i64::from(west)) * MICROS_PER_SECOND;
    (shifted.rem_euclid(MICROS_PER_DAY), west)
}

fn field_range(what: &str, text: String) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} field value out of range: {text}"))
}

/// `make_date`; a negative year is BC.
pub fn make_date(year: i32, month: i32, day: i32) -> Result<i32> {
    let error = || field_range("date", format!("{year}-{month:02}-{day:02}"));
    let astronomical = match year {
        0 => return Err(error()),
        y if y < 0 => y.checked_add(1).ok_or_else(error)?,
        y => y,
    };
    if !(1..=12).contains(&month) || day < 1 || day as u32 > days_in_month(astronomical, month as u32) {
        return Err(error());
    }
    let days = days_from_civil(astronomical, month as u32, day as u32);
    i32::try_from(days)
        .ok()
        .filter(|d| (MIN_DATE..END_DATE).contains(d))
        .ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: {year}-{month:02}-{day:02}")))
}

/// `make_time`
pub fn make_time(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let micros = (second * 1e6).round_ties_even();
    let seconds_ok = second.is_finite() && (0.0..=60e6).contains(&micros);
    let ok = (0..=24).contains(&hour) && (0..=59).contains(&minute) && seconds_ok && (hour < 24 || (minute == 0 && micros == 0.0));
    if !ok {
        let mut text = String::new();
        crate::types::float::write_f64(&mut text, second, 0);
        let padded = if (0.0..10.0).contains(&second) { format!("0{text}") } else { text };
        return Err(field_range("time", format!("{hour}:{minute:02}:{padded}")));
    }
    Ok(i64::from(hour) * MICROS_PER_HOUR + i64::from(minute) * MICROS_PER_MINUTE + micros as i64)
}

/// `make_timestamp`
pub fn make_timestamp(year: i32, month: i32, day: i32, hour: i32, minute: i32, second: f64) -> Result<i64> {
    let days = make_date(year, month, day)?;
    let time = make_time(hour, minute, second)?;
    date_time(days, time).map_err(|_| {
        SqlError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("timestamp out of range: {year}-{month:02}-{day:02} {hour}:{minute:02}:{second}"),
        )
    })
}

/// `make_interval`
pub fn make_interval(years: i32, months: i32, weeks: i32, days: i32, hours: i32, minutes: i32, seconds: f64) -> Result<Interval> {
    let range = interval::out_of_range;
    let months = i64::from(years) * 12 + i64::from(months);
    let days = i64::from(weeks) * 7 + i64::from(days);
    let micros = (seconds * 1e6).round_ties_even();
    if !micros.is_finite() || micros.abs() >= 9.2e18 {
        return Err(range());
    }
    let micros = i128::from(hours) * i128::from(MICROS_PER_HOUR) + i128::from(minutes) * i128::from(MICROS_PER_MINUTE) + micros as i128;
    Ok(Interval {
        months: months.try_into().map_err(|_| range())?,
        days: days.try_into().map_err(|_| range())?,
        micros: micros.try_into().map_err(|_| range())?,
    })
}

/// `to_timestamp(float8)`: seconds since 1970.
pub fn from_unix_seconds(seconds: f64) -> Result<i64> {
    if seconds.is_nan() {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp cannot be NaN"));
    }
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
    }
    let micros = ((seconds - UNIX_EPOCH_SECONDS as f64) * 1e6).round_ties_even();
    if micros < MIN_TIMESTAMP as f64 || micros >= END_TIMESTAMP as f64 {
        let text = crate::types::float::f64_to_text(seconds);
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\"")));
    }
    Ok(micros as i64)
}

/// `date_bin(stride, source, origin)`
pub fn date_bin(stride: &Interval, source: i64, origin: i64) -> Result<i64> {
    if !is_finite(source) {
        return Ok(source);
    }
    if !is_finite(origin) {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "origin out of range"));
    }
    if stride.months != 0 {
        return Err(SqlError::unsupported("timestamps cannot be binned into intervals containing months or years"));
    }
    let step = i128::from(stride.days) * i128::from(MICROS_PER_DAY) + i128::from(stride.micros);
    if step <= 0 {
        return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero"));
    }
    let offset = (i128::from(source) - i128::from(origin)).div_euclid(step) * step;
    i64::try_from(i128::from(origin) + offset).map_err(|_| timestamp_range()).and_then(check_timestamp)
}
