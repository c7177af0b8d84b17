//! Text output of dates and times under `DateStyle`.

use super::calendar::*;
use super::zone::{Zone, find_zone};
use crate::functions::SessionView;

/// The output half of `DateStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStyle {
    /// `2000-01-02 03:04:05+00`
    Iso,
    /// `01/02/2000 03:04:05 UTC`
    Sql,
    /// `Sun Jan 02 03:04:05 2000 UTC`
    Postgres,
    /// `02.01.2000 03:04:05 UTC`
    German,
}

/// The order of fields, for input and for some output styles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// Month, day, year.
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

impl DateStyle {
    /// Both halves of the setting, as `DateStyle` shows it: `ISO, MDY`.
    pub fn of(session: &SessionView) -> (DateStyle, DateOrder) {
        let (style, order) = session.datestyle.split_once(',').unwrap_or((&session.datestyle, "MDY"));
        let style = match style.trim() {
            s if s.eq_ignore_ascii_case("sql") => DateStyle::Sql,
            s if s.eq_ignore_ascii_case("postgres") => DateStyle::Postgres,
            s if s.eq_ignore_ascii_case("german") => DateStyle::German,
            _ => DateStyle::Iso,
        };
        let order = match order.trim() {
            o if o.eq_ignore_ascii_case("dmy") => DateOrder::Dmy,
            o if o.eq_ignore_ascii_case("ymd") => DateOrder::Ymd,
            _ => DateOrder::Mdy,
        };
        (style, order)
    }
}

pub(super) const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Appends `n` with at least `width` digits.
fn pad(out: &mut String, n: i64, width: usize) {
    let text = n.to_string();
    out.extend(std::iter::repeat_n('0', width.saturating_sub(text.len())));
    out.push_str(&text);
}

/// Appends `.ffffff` without trailing zeros; nothing for zero.
pub(crate) fn write_fraction(out: &mut String, micros: i64) {
    if micros == 0 {
        return;
    }
    out.push('.');
    let text = format!("{micros:06}");
    out.push_str(text.trim_end_matches('0'));
}

fn clock(out: &mut String, micros: i64) {
    let (h, m, s, us) = split_micros(micros);
    pad(out, h, 2);
    out.push(':');
    pad(out, m, 2);
    out.push(':');
    pad(out, s, 2);
    write_fraction(out, us);
}

/// Year as printed (no year 0) and whether it is BC.
fn era(year: i32) -> (i64, bool) {
    if year > 0 { (i64::from(year), false) } else { (1 - i64::from(year), true) }
}

fn date_fields(out: &mut String, year: i32, month: u32, day: u32, style: DateStyle, order: DateOrder) {
    let (y, _) = era(year);
    let (m, d) = (i64::from(month), i64::from(day));
    let (separator, fields) = match (style, order) {
        (DateStyle::Iso, _) => ('-', [(y, 4), (m, 2), (d, 2)]),
        (DateStyle::German, _) => ('.', [(d, 2), (m, 2), (y, 4)]),
        (DateStyle::Sql, DateOrder::Dmy) => ('/', [(d, 2), (m, 2), (y, 4)]),
        (DateStyle::Sql, _) => ('/', [(m, 2), (d, 2), (y, 4)]),
        (DateStyle::Postgres, DateOrder::Dmy) => ('-', [(d, 2), (m, 2), (y, 4)]),
        (DateStyle::Postgres, _) => ('-', [(m, 2), (d, 2), (y, 4)]),
    };
    for (i, (n, width)) in fields.into_iter().enumerate() {
        if i > 0 {
            out.push(separator);
        }
        pad(out, n, width);
    }
}

fn infinite(out: &mut String, negative: bool) {
    out.push_str(if negative { "-infinity" } else { "infinity" });
}

fn date_in(out: &mut String, days: i32, style: DateStyle, order: DateOrder) {
    if !is_finite_date(days) {
        return infinite(out, days < 0);
    }
    let (year, month, day) = civil_from_days(i64::from(days));
    date_fields(out, year, month, day, style, order);
    if year <= 0 {
        out.push_str(" BC");
    }
}

/// Appends a `date`.
pub fn write_date(out: &mut String, days: i32, session: &SessionView) {
    let (style, order) = DateStyle::of(session);
    date_in(out, days, style, order);
}

/// Appends a `date` as ISO 8601, whatever the session says (JSON).
pub fn write_iso_date(out: &mut String, days: i32) {
    date_in(out, days, DateStyle::Iso, DateOrder::Mdy);
}

/// Appends a `time`.
pub fn write_time(out: &mut String, micros: i64) {
    clock(out, micros);
}

fn offset(out: &mut String, east: i32) {
    out.push(if east < 0 { '-' } else { '+' });
    let seconds = i64::from(east.unsigned_abs());
    pad(out, seconds / 3600, 2);
    if seconds % 3600 != 0 {
        out.push(':');
        pad(out, seconds / 60 % 60, 2);
    }
    if seconds % 60 != 0 {
        out.push(':');
        pad(out, seconds % 60, 2);
    }
}

/// Appends a `timetz`; `zone` is in seconds west.
pub fn write_timetz(out: &mut String, micros: i64, zone: i32) {
    clock(out, micros);
    offset(out, -zone);
}

/// One timestamp; `zone`: offset east and abbreviation for `timestamptz`. `t_separator`: between date and time in ISO style.
fn timestamp_in(out: &mut String, local: i64, zone: Option<(i32, &str)>, style: DateStyle, order: DateOrder, t_separator: char) {
    let civil = Civil::of(local);
    // Styles other than ISO name the zone when they can.
    let name_zone = |out: &mut String, glue: bool| {
        if let Some((east, name)) = zone {
            if style == DateStyle::Iso || name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
                if glue && style != DateStyle::Iso && style == DateStyle::Postgres {
                    out.push(' ');
                }
                offset(out, east);
            } else {
                out.push(' ');
                out.push_str(name);
            }
        }
    };
    if style == DateStyle::Postgres {
        let days = local.div_euclid(MICROS_PER_DAY);
        out.push_str(DAYS[weekday(days) as usize]);
        out.push(' ');
        let month = MONTHS[civil.month as usize - 1];
        if order == DateOrder::Dmy {
            pad(out, i64::from(civil.day), 2);
            out.push(' ');
            out.push_str(month);
        } else {
            out.push_str(month);
            out.push(' ');
            pad(out, i64::from(civil.day), 2);
        }
        out.push(' ');
        clock(out, civil.micros);
        out.push(' ');
        pad(out, era(civil.year).0, 4);
        name_zone(out, true);
    } else {
        date_fields(out, civil.year, civil.month, civil.day, style, order);
        out.push(if style == DateStyle::Iso { t_separator } else { ' ' });
        clock(out, civil.micros);
        name_zone(out, false);
    }
    if civil.year <= 0 {
        out.push_str(" BC");
    }
}

/// Appends a `timestamp`.
pub fn write_timestamp(out: &mut String, t: i64, session: &SessionView) {
    if !is_finite(t) {
        return infinite(out, t < 0);
    }
    let (style, order) = DateStyle::of(session);
    timestamp_in(out, t, None, style, order, ' ');
}

fn session_zone(session: &SessionView) -> Zone {
    find_zone(&session.timezone).unwrap_or(Zone::Fixed(0, "UTC".into()))
}

/// Appends a `timestamptz` in the session's zone.
pub fn write_timestamptz(out: &mut String, t: i64, session: &SessionView) {
    if !is_finite(t) {
        return infinite(out, t < 0);
    }
    let zone = session_zone(session);
    let east = zone.offset_at(t);
    let (style, order) = DateStyle::of(session);
    let name = if style == DateStyle::Iso { String::new() } else { zone.abbreviation_at(t) };
    timestamp_in(out, t.saturating_add(i64::from(east) * MICROS_PER_SECOND), Some((east, &name)), style, order, ' ');
}

/// Appends a `timestamp` with `T` between date and time (JSON).
pub fn write_iso_timestamp(out: &mut String, t: i64) {
    if !is_finite(t) {
        return infinite(out, t < 0);
    }
    timestamp_in(out, t, None, DateStyle::Iso, DateOrder::Mdy, 'T');
}

/// Appends a `timestamptz` with `T` and the offset as `+hh:mm` (JSON).
pub fn write_iso_timestamptz(out: &mut String, t: i64, session: &SessionView) {
    if !is_finite(t) {
        return infinite(out, t < 0);
    }
    let east = session_zone(session).offset_at(t);
    timestamp_in(out, t.saturating_add(i64::from(east) * MICROS_PER_SECOND), None, DateStyle::Iso, DateOrder::Mdy, 'T');
    let bc = out.ends_with(" BC");
    if bc {
        out.truncate(out.len() - 3);
    }
    offset(out, east);
    if east % 3600 == 0 {
        out.push_str(":00");
    }
    if bc {
        out.push_str(" BC");
    }
}
