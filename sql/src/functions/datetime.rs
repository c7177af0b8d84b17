//! Dates, times and intervals: thin bodies over [`crate::types::datetime`], which owns calendar, zones and arithmetic.

use std::cmp::Ordering;

use super::EvalContext;
use super::args::{Entry, date, f8, i4, interval, s, text, time, timestamp, timetz};
use super::compare::{six, three_way};
use super::order::order;
use crate::error::{Result, SqlError, SqlState};
use crate::types::datetime::{self as dt, Source, Zone};
use crate::types::{Datum, Interval, Numeric};

/// A zone by name, or `22023`.
fn zone(name: &str) -> Result<Zone> {
    dt::find_zone(name).ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}

fn session_zone(ctx: &EvalContext<'_>) -> Result<Zone> {
    zone(&ctx.session.timezone)
}

fn span(i: Interval) -> Datum {
    Datum::Interval(i)
}

fn local_now(ctx: &EvalContext<'_>) -> Result<i64> {
    dt::timestamptz_to_timestamp(ctx.transaction_micros, &ctx.session.timezone)
}

/// A value as a UTC instant, for comparing across types; the session's zone decides.
fn instant(ctx: &EvalContext<'_>, d: &Datum) -> Result<i64> {
    let local = match d {
        Datum::TimestampTz(t) => return Ok(*t),
        Datum::Date(v) => dt::date_to_timestamp(*v)?,
        other => timestamp(other)?,
    };
    if dt::is_finite(local) { dt::timestamp_to_timestamptz(local, &ctx.session.timezone) } else { Ok(local) }
}

fn day_order(x: &[Datum]) -> Result<Ordering> {
    let micros = |d: &Datum| match d {
        Datum::Date(v) => dt::date_to_timestamp(*v),
        other => timestamp(other),
    };
    Ok(micros(&x[0])?.cmp(&micros(&x[1])?))
}

fn negative(i: &Interval) -> Result<Interval> {
    dt::interval_neg(i)
}

macro_rules! mixed {
    ($($eq:literal $ne:literal $lt:literal $le:literal $gt:literal $ge:literal;)*) => { &[$(
        s($eq, |c, x| Ok(Datum::Bool(instant(c, &x[0])? == instant(c, &x[1])?))),
        s($ne, |c, x| Ok(Datum::Bool(instant(c, &x[0])? != instant(c, &x[1])?))),
        s($lt, |c, x| Ok(Datum::Bool(instant(c, &x[0])? < instant(c, &x[1])?))),
        s($le, |c, x| Ok(Datum::Bool(instant(c, &x[0])? <= instant(c, &x[1])?))),
        s($gt, |c, x| Ok(Datum::Bool(instant(c, &x[0])? > instant(c, &x[1])?))),
        s($ge, |c, x| Ok(Datum::Bool(instant(c, &x[0])? >= instant(c, &x[1])?))),
    )*] };
}

/// Comparisons between a zoned and a local type.
pub(super) const MIXED: &[Entry] = mixed! {
    "date_eq_timestamptz" "date_ne_timestamptz" "date_lt_timestamptz" "date_le_timestamptz" "date_gt_timestamptz" "date_ge_timestamptz";
    "timestamptz_eq_date" "timestamptz_ne_date" "timestamptz_lt_date" "timestamptz_le_date" "timestamptz_gt_date" "timestamptz_ge_date";
    "timestamp_eq_timestamptz" "timestamp_ne_timestamptz" "timestamp_lt_timestamptz" "timestamp_le_timestamptz" "timestamp_gt_timestamptz" "timestamp_ge_timestamptz";
    "timestamptz_eq_timestamp" "timestamptz_ne_timestamp" "timestamptz_lt_timestamp" "timestamptz_le_timestamp" "timestamptz_gt_timestamp" "timestamptz_ge_timestamp";
};

/// Comparisons that need no zone.
pub(super) const COMPARISON: &[Entry] = six! {
    "interval_eq" "interval_ne" "interval_lt" "interval_le" "interval_gt" "interval_ge": |x| order(&x[0], &x[1])?;
    "timetz_eq" "timetz_ne" "timetz_lt" "timetz_le" "timetz_gt" "timetz_ge": |x| order(&x[0], &x[1])?;
    "date_eq_timestamp" "date_ne_timestamp" "date_lt_timestamp" "date_le_timestamp" "date_gt_timestamp" "date_ge_timestamp": |x| day_order(x)?;
    "timestamp_eq_date" "timestamp_ne_date" "timestamp_lt_date" "timestamp_le_date" "timestamp_gt_date" "timestamp_ge_date": |x| day_order(x)?;
};

/// `overlaps` on values already brought to `(start, end, start, end)`; NULL bounds follow the standard.
fn overlaps(x: [Datum; 4]) -> Result<Datum> {
    let [s1, e1, s2, e2] = x;
    let arrange = |s: Datum, e: Datum| -> Result<Option<(Datum, Option<Datum>)>> {
        Ok(match (s, e) {
            (Datum::Null, Datum::Null) => None,
            (Datum::Null, e) => Some((e, None)),
            (s, Datum::Null) => Some((s, None)),
            (s, e) => Some(if order(&s, &e)?.is_gt() { (e, Some(s)) } else { (s, Some(e)) }),
        })
    };
    let (Some((s1, e1)), Some((s2, e2))) = (arrange(s1, e1)?, arrange(s2, e2)?) else { return Ok(Datum::Null) };
    let (later, earlier_end, own_end) = match order(&s1, &s2)? {
        Ordering::Greater => (s1, e2, e1),
        Ordering::Less => (s2, e1, e2),
        Ordering::Equal => return Ok(if e1.is_none() || e2.is_none() { Datum::Null } else { Datum::Bool(true) }),
    };
    let Some(end) = earlier_end else { return Ok(Datum::Null) };
    if order(&later, &end)?.is_lt() {
        return Ok(Datum::Bool(true));
    }
    Ok(if own_end.is_none() { Datum::Null } else { Datum::Bool(false) })
}

/// `start + interval` in the type of `start`.
fn end_of(ctx: &EvalContext<'_>, start: &Datum, length: &Datum) -> Result<Datum> {
    Ok(match (start, length) {
        (Datum::Null, _) | (_, Datum::Null) => Datum::Null,
        (Datum::TimestampTz(t), l) => Datum::TimestampTz(dt::timestamptz_add(*t, interval(l)?, &ctx.session.timezone)?),
        (Datum::Timestamp(t), l) => Datum::Timestamp(dt::timestamp_add(*t, interval(l)?)?),
        (t, l) => Datum::Time(dt::time_add(time(t)?, interval(l)?)),
    })
}

fn overlaps_ends(ctx: &EvalContext<'_>, x: &[Datum], first: bool, second: bool) -> Result<Datum> {
    let e1 = if first { end_of(ctx, &x[0], &x[1])? } else { x[1].clone() };
    let e2 = if second { end_of(ctx, &x[2], &x[3])? } else { x[3].clone() };
    overlaps([x[0].clone(), e1, x[2].clone(), e2])
}

fn numeric(n: Option<Numeric>) -> Datum {
    n.map_or(Datum::Null, super::numeric::num)
}

fn float(n: Option<Numeric>) -> Datum {
    n.map_or(Datum::Null, |n| Datum::Float8(n.to_f64()))
}

fn zoned_part(ctx: &EvalContext<'_>, x: &[Datum]) -> Result<Option<Numeric>> {
    let z = session_zone(ctx)?;
    dt::extract(text(&x[0])?, Source::TimestampTz(timestamp(&x[1])?, &z))
}

fn part(x: &[Datum]) -> Result<Option<Numeric>> {
    let source = match &x[1] {
        Datum::Date(v) => Source::Date(*v),
        Datum::Time(v) => Source::Time(*v),
        Datum::TimeTz(v, z) => Source::TimeTz(*v, *z),
        Datum::Interval(i) => return dt::extract_interval(text(&x[0])?, i).map(Some),
        other => Source::Timestamp(timestamp(other)?),
    };
    dt::extract(text(&x[0])?, source)
}

/// An interval's offset as `AT TIME ZONE interval` takes it, in microseconds east.
fn offset_micros(i: &Datum) -> Result<i64> {
    Ok(dt::interval_zone(interval(i)?)? * dt::MICROS_PER_SECOND)
}

fn age(x: &[Datum]) -> Result<Datum> {
    dt::age(timestamp(&x[0])?, timestamp(&x[1])?).map(span)
}

fn age_zoned(ctx: &EvalContext<'_>, a: i64, b: i64) -> Result<Datum> {
    let zone = &ctx.session.timezone;
    dt::age(dt::timestamptz_to_timestamp(a, zone)?, dt::timestamptz_to_timestamp(b, zone)?).map(span)
}

/// Midnight of today in the session's zone.
fn today(ctx: &EvalContext<'_>) -> Result<i64> {
    Ok(local_now(ctx)?.div_euclid(dt::MICROS_PER_DAY) * dt::MICROS_PER_DAY)
}

fn zoned_time(ctx: &EvalContext<'_>, d: &Datum, z: &Zone) -> Result<Datum> {
    let (micros, west) = timetz(d)?;
    let to = -z.offset_at(ctx.transaction_micros);
    let (micros, west) = dt::timetz_at(micros, west, to);
    Ok(Datum::TimeTz(micros, west))
}

/// Operators and arithmetic.
pub(super) const ARITHMETIC: &[Entry] = &[
    s("date_pli", |_, x| dt::date_add(date(&x[0])?, i4(&x[1])?).map(Datum::Date)),
    s("integer_pl_date(int4,date)", |_, x| dt::date_add(date(&x[1])?, i4(&x[0])?).map(Datum::Date)),
    s("date_mii", |_, x| {
        let days = i4(&x[1])?.checked_neg().ok_or_else(|| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range"))?;
        dt::date_add(date(&x[0])?, days).map(Datum::Date)
    }),
    s("date_mi", |_, x| dt::date_diff(date(&x[0])?, date(&x[1])?).map(Datum::Int4)),
    s("date_pl_interval", |_, x| dt::timestamp_add(dt::date_to_timestamp(date(&x[0])?)?, interval(&x[1])?).map(Datum::Timestamp)),
    s("interval_pl_date(interval,date)", |_, x| {
        dt::timestamp_add(dt::date_to_timestamp(date(&x[1])?)?, interval(&x[0])?).map(Datum::Timestamp)
    }),
    s("date_mi_interval", |_, x| {
        dt::timestamp_add(dt::date_to_timestamp(date(&x[0])?)?, &negative(interval(&x[1])?)?).map(Datum::Timestamp)
    }),
    s("datetime_timestamp", |_, x| dt::date_time(date(&x[0])?, time(&x[1])?).map(Datum::Timestamp)),
    s("timedate_pl(time,date)", |_, x| dt::date_time(date(&x[1])?, time(&x[0])?).map(Datum::Timestamp)),
    s("datetimetz_timestamptz", |_, x| {
        let (micros, west) = timetz(&x[1])?;
        Ok(Datum::TimestampTz(dt::check_timestamp(dt::date_time(date(&x[0])?, micros)? + i64::from(west) * dt::MICROS_PER_SECOND)?))
    }),
    s("timetzdate_pl(timetz,date)", |_, x| {
        let (micros, west) = timetz(&x[0])?;
        Ok(Datum::TimestampTz(dt::check_timestamp(dt::date_time(date(&x[1])?, micros)? + i64::from(west) * dt::MICROS_PER_SECOND)?))
    }),
    s("timestamptz(date,time)", |c, x| {
        dt::timestamp_to_timestamptz(dt::date_time(date(&x[0])?, time(&x[1])?)?, &c.session.timezone).map(Datum::TimestampTz)
    }),
    s("timestamp_pl_interval", |_, x| dt::timestamp_add(timestamp(&x[0])?, interval(&x[1])?).map(Datum::Timestamp)),
    s("interval_pl_timestamp(interval,timestamp)", |_, x| dt::timestamp_add(timestamp(&x[1])?, interval(&x[0])?).map(Datum::Timestamp)),
    s("timestamp_mi_interval", |_, x| dt::timestamp_add(timestamp(&x[0])?, &negative(interval(&x[1])?)?).map(Datum::Timestamp)),
    s("timestamptz_pl_interval", |c, x| {
        dt::timestamptz_add(timestamp(&x[0])?, interval(&x[1])?, &c.session.timezone).map(Datum::TimestampTz)
    }),
    s("interval_pl_timestamptz(interval,timestamptz)", |c, x| {
        dt::timestamptz_add(timestamp(&x[1])?, interval(&x[0])?, &c.session.timezone).map(Datum::TimestampTz)
    }),
    s("timestamptz_mi_interval", |c, x| {
        dt::timestamptz_add(timestamp(&x[0])?, &negative(interval(&x[1])?)?, &c.session.timezone).map(Datum::TimestampTz)
    }),
    s("timestamp_mi", |_, x| dt::timestamp_diff(timestamp(&x[0])?, timestamp(&x[1])?).map(span)),
    s("time_pl_interval", |_, x| Ok(Datum::Time(dt::time_add(time(&x[0])?, interval(&x[1])?)))),
    s("interval_pl_time(interval,time)", |_, x| Ok(Datum::Time(dt::time_add(time(&x[1])?, interval(&x[0])?)))),
    s("time_mi_interval", |_, x| Ok(Datum::Time(dt::time_add(time(&x[0])?, &negative(interval(&x[1])?)?)))),
    s("time_mi_time", |_, x| Ok(span(Interval { months: 0, days: 0, micros: time(&x[0])? - time(&x[1])? }))),
    s("timetz_pl_interval", |_, x| {
        let (t, z) = timetz(&x[0])?;
        Ok(Datum::TimeTz(dt::time_add(t, interval(&x[1])?), z))
    }),
    s("interval_pl_timetz(interval,timetz)", |_, x| {
        let (t, z) = timetz(&x[1])?;
        Ok(Datum::TimeTz(dt::time_add(t, interval(&x[0])?), z))
    }),
    s("timetz_mi_interval", |_, x| {
        let (t, z) = timetz(&x[0])?;
        Ok(Datum::TimeTz(dt::time_add(t, &negative(interval(&x[1])?)?), z))
    }),
    s("interval_pl", |_, x| dt::interval_add(interval(&x[0])?, interval(&x[1])?).map(span)),
    s("interval_mi", |_, x| dt::interval_sub(interval(&x[0])?, interval(&x[1])?).map(span)),
    s("interval_um", |_, x| negative(interval(&x[0])?).map(span)),
    s("interval_mul", |_, x| dt::interval_mul(interval(&x[0])?, f8(&x[1])?).map(span)),
    s("mul_d_interval", |_, x| dt::interval_mul(interval(&x[1])?, f8(&x[0])?).map(span)),
    s("interval_div", |_, x| dt::interval_div(interval(&x[0])?, f8(&x[1])?).map(span)),
    s("interval_cmp", |_, x| Ok(three_way(order(&x[0], &x[1])?))),
    s("timestamp_larger", |_, x| Ok(if timestamp(&x[0])? > timestamp(&x[1])? { x[0].clone() } else { x[1].clone() })),
    s("timestamp_smaller", |_, x| Ok(if timestamp(&x[0])? < timestamp(&x[1])? { x[0].clone() } else { x[1].clone() })),
    s("date_larger", |_, x| Ok(Datum::Date(date(&x[0])?.max(date(&x[1])?)))),
    s("date_smaller", |_, x| Ok(Datum::Date(date(&x[0])?.min(date(&x[1])?)))),
];

/// Clocks, fields, truncation, construction, zones.
pub(super) const FUNCTIONS: &[Entry] = &[
    s("now", |c, _| Ok(Datum::TimestampTz(c.transaction_micros))),
    s("statement_timestamp", |c, _| Ok(Datum::TimestampTz(c.statement_micros))),
    s("current_date", |c, _| dt::timestamp_to_date(local_now(c)?).map(Datum::Date)),
    s("localtimestamp", |c, _| local_now(c).map(Datum::Timestamp)),
    s("localtime", |c, _| Ok(Datum::Time(local_now(c)?.rem_euclid(dt::MICROS_PER_DAY)))),
    s("current_time", |c, _| {
        let west = -session_zone(c)?.offset_at(c.transaction_micros);
        Ok(Datum::TimeTz(local_now(c)?.rem_euclid(dt::MICROS_PER_DAY), west))
    }),
    s("timestamp_age", |_, x| age(x)),
    s("timestamptz_age", |c, x| age_zoned(c, timestamp(&x[0])?, timestamp(&x[1])?)),
    s("age(timestamp)", |c, x| dt::age(today(c)?, timestamp(&x[0])?).map(span)),
    s("age(timestamptz)", |c, x| dt::age(today(c)?, dt::timestamptz_to_timestamp(timestamp(&x[0])?, &c.session.timezone)?).map(span)),
    s("extract_date", |_, x| part(x).map(numeric)),
    s("extract_time", |_, x| part(x).map(numeric)),
    s("extract_timetz", |_, x| part(x).map(numeric)),
    s("extract_timestamp", |_, x| part(x).map(numeric)),
    s("extract_timestamptz", |c, x| zoned_part(c, x).map(numeric)),
    s("extract_interval", |_, x| part(x).map(numeric)),
    s("timestamp_part", |_, x| part(x).map(float)),
    s("timestamptz_part", |c, x| zoned_part(c, x).map(float)),
    s("interval_part", |_, x| part(x).map(float)),
    s("time_part", |_, x| part(x).map(float)),
    s("timetz_part", |_, x| part(x).map(float)),
    s("date_part(text,date)", |_, x| dt::extract(text(&x[0])?, Source::Timestamp(dt::date_to_timestamp(date(&x[1])?)?)).map(float)),
    s("timestamp_trunc", |_, x| dt::date_trunc(text(&x[0])?, timestamp(&x[1])?).map(Datum::Timestamp)),
    s("timestamptz_trunc", |c, x| dt::date_trunc_tz(text(&x[0])?, timestamp(&x[1])?, &session_zone(c)?).map(Datum::TimestampTz)),
    s("timestamptz_trunc_zone", |_, x| dt::date_trunc_tz(text(&x[0])?, timestamp(&x[1])?, &zone(text(&x[2])?)?).map(Datum::TimestampTz)),
    s("interval_trunc", |_, x| dt::date_trunc_interval(text(&x[0])?, interval(&x[1])?).map(span)),
    s("timestamp_bin", |_, x| dt::date_bin(interval(&x[0])?, timestamp(&x[1])?, timestamp(&x[2])?).map(Datum::Timestamp)),
    s("timestamptz_bin", |_, x| dt::date_bin(interval(&x[0])?, timestamp(&x[1])?, timestamp(&x[2])?).map(Datum::TimestampTz)),
    s("make_date", |_, x| dt::make_date(i4(&x[0])?, i4(&x[1])?, i4(&x[2])?).map(Datum::Date)),
    s("make_time", |_, x| dt::make_time(i4(&x[0])?, i4(&x[1])?, f8(&x[2])?).map(Datum::Time)),
    s("make_timestamp", |_, x| made(x).map(Datum::Timestamp)),
    s("make_timestamptz", |c, x| dt::timestamp_to_timestamptz(made(x)?, &c.session.timezone).map(Datum::TimestampTz)),
    s("make_timestamptz_at_timezone", |_, x| dt::timestamp_to_timestamptz(made(x)?, text(&x[6])?).map(Datum::TimestampTz)),
    s("make_interval", |_, x| {
        let n = |i: usize| x.get(i).map_or(Ok(0), i4);
        let seconds = x.get(6).map_or(Ok(0.0), f8)?;
        dt::make_interval(n(0)?, n(1)?, n(2)?, n(3)?, n(4)?, n(5)?, seconds).map(span)
    }),
    s("interval_justify_hours", |_, x| dt::justify_hours(interval(&x[0])?).map(span)),
    s("interval_justify_days", |_, x| dt::justify_days(interval(&x[0])?).map(span)),
    s("interval_justify_interval", |_, x| dt::justify_interval(interval(&x[0])?).map(span)),
    s("date_finite", |_, x| Ok(Datum::Bool(dt::is_finite_date(date(&x[0])?)))),
    s("timestamp_finite", |_, x| Ok(Datum::Bool(dt::is_finite(timestamp(&x[0])?)))),
    s("interval_finite", |_, _| Ok(Datum::Bool(true))),
    s("float8_timestamptz", |_, x| dt::from_unix_seconds(f8(&x[0])?).map(Datum::TimestampTz)),
    s("timestamp_zone", |_, x| dt::timestamp_to_timestamptz(timestamp(&x[1])?, text(&x[0])?).map(Datum::TimestampTz)),
    s("timestamptz_zone", |_, x| dt::timestamptz_to_timestamp(timestamp(&x[1])?, text(&x[0])?).map(Datum::Timestamp)),
    s("timestamp_izone", |_, x| dt::check_timestamp(timestamp(&x[1])?.saturating_sub(offset_micros(&x[0])?)).map(Datum::TimestampTz)),
    s("timestamptz_izone", |_, x| dt::check_timestamp(timestamp(&x[1])?.saturating_add(offset_micros(&x[0])?)).map(Datum::Timestamp)),
    s("timetz_zone", |c, x| zoned_time(c, &x[1], &zone(text(&x[0])?)?)),
    s("timetz_izone", |_, x| {
        let (t, z) = timetz(&x[1])?;
        let west = i32::try_from(-dt::interval_zone(interval(&x[0])?)?).map_err(|_| super::args::out_of_range("interval"))?;
        let (t, z) = dt::timetz_at(t, z, west);
        Ok(Datum::TimeTz(t, z))
    }),
    s("overlaps_timestamp", |c, x| overlaps_ends(c, x, false, false)),
    s("overlaps_time", |c, x| overlaps_ends(c, x, false, false)),
    s("overlaps_timetz", |c, x| overlaps_ends(c, x, false, false)),
    s("overlaps(timestamptz,interval,timestamptz,interval)", |c, x| overlaps_ends(c, x, true, true)),
    s("overlaps(timestamptz,timestamptz,timestamptz,interval)", |c, x| overlaps_ends(c, x, false, true)),
    s("overlaps(timestamptz,interval,timestamptz,timestamptz)", |c, x| overlaps_ends(c, x, true, false)),
    s("overlaps(timestamp,interval,timestamp,interval)", |c, x| overlaps_ends(c, x, true, true)),
    s("overlaps(timestamp,timestamp,timestamp,interval)", |c, x| overlaps_ends(c, x, false, true)),
    s("overlaps(timestamp,interval,timestamp,timestamp)", |c, x| overlaps_ends(c, x, true, false)),
    s("overlaps(time,interval,time,interval)", |c, x| overlaps_ends(c, x, true, true)),
    s("overlaps(time,time,time,interval)", |c, x| overlaps_ends(c, x, false, true)),
    s("overlaps(time,interval,time,time)", |c, x| overlaps_ends(c, x, true, false)),
];

fn made(x: &[Datum]) -> Result<i64> {
    dt::make_timestamp(i4(&x[0])?, i4(&x[1])?, i4(&x[2])?, i4(&x[3])?, i4(&x[4])?, f8(&x[5])?)
}
