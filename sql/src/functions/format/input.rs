//! Date templates, reading: `to_date` and `to_timestamp(text, template)`.
//!
//! Fields are read in template order; any run of blanks and separators in the input matches any in the template. A number takes as
//! many digits as its field has, or all of them when no other digit field follows.

use super::date::{DAYS, MONTHS, Piece, ROMAN_MONTHS, pieces};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::EvalContext;
use crate::functions::args::{Entry, err, s, text};
use crate::types::Datum;
use crate::types::datetime as dt;

#[derive(Default)]
struct Read {
    year: Option<i32>,
    bc: bool,
    century: Option<i32>,
    month: Option<i32>,
    day: Option<i32>,
    day_of_year: Option<i32>,
    julian: Option<i32>,
    week: Option<i32>,
    week_of_month: Option<i32>,
    iso_week: Option<i32>,
    iso_day: Option<i32>,
    iso: bool,
    hour: i32,
    twelve: bool,
    pm: Option<bool>,
    minute: i32,
    second: i32,
    day_seconds: Option<i32>,
    micros: i64,
    zone_hour: Option<i32>,
    zone_minute: i32,
}

fn bad(value: &str, word: &str, detail: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid value \"{value}\" for \"{word}\"")).detail(detail)
}

fn overflow(input: &str) -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{input}\""))
}

/// Digits a field has when another follows at once.
fn width(word: &str) -> usize {
    match word {
        "YYYY" | "IYYY" | "FF4" => 4,
        "YYY" | "IYY" | "MS" | "DDD" | "IDDD" | "FF3" => 3,
        "Y" | "I" | "D" | "ID" | "Q" | "W" | "FF1" => 1,
        "US" | "FF6" | "SSSS" | "SSSSS" => {
            if word.starts_with('S') {
                5
            } else {
                6
            }
        }
        "FF5" => 5,
        "J" => 10,
        _ => 2,
    }
}

fn is_number(word: &str) -> bool {
    !matches!(word, "AM" | "PM" | "A.M." | "P.M." | "AD" | "BC" | "A.D." | "B.C." | "MONTH" | "MON" | "DAY" | "DY" | "RM" | "TZ" | "OF")
}

fn is_separator(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_alphanumeric()
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// A signed integer of at most `most` characters; the count of digits matters for fractions and short years.
    fn integer(&mut self, word: &str, most: usize) -> Result<(i32, usize)> {
        self.rest = self.rest.trim_start();
        let sign = usize::from(self.rest.starts_with(['-', '+']));
        let digits = self.rest[sign..].bytes().take(most.saturating_sub(sign)).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            let shown: String = self.rest.chars().take(most.min(width(word))).collect();
            return Err(bad(&shown, word, "Value must be an integer."));
        }
        let text = &self.rest[..sign + digits];
        self.rest = &self.rest[sign + digits..];
        let value = text.parse().map_err(|_| {
            SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("value for \"{word}\" in source string is out of range"))
        })?;
        Ok((value, digits))
    }
    /// One of a list of names, without regard to case; its index.
    fn name(&mut self, word: &str, names: &[&str]) -> Result<usize> {
        self.rest = self.rest.trim_start();
        // Longer names first: VIII before VII before VI.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(names[*i].len()));
        for i in order {
            let n = names[i];
            if self.rest.get(..n.len()).is_some_and(|r| r.eq_ignore_ascii_case(n)) {
                self.rest = &self.rest[n.len()..];
                return Ok(i);
            }
        }
        let shown: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
        Err(bad(&shown, word, "The given value did not match any of the allowed values for this field."))
    }
}

/// A year of less than four digits is the one nearest 2020.
fn near_2020(year: i32, digits: usize) -> i32 {
    match digits {
        1 => year + 2000,
        2 if year < 70 => year + 2000,
        2 => year + 1900,
        3 if year < 520 => year + 2000,
        3 => year + 1000,
        _ => year,
    }
}

fn field(r: &mut Reader<'_>, to: &mut Read, word: &str, most: usize) -> Result<()> {
    let names3 = |all: &[&'static str]| all.iter().map(|n| &n[..3]).collect::<Vec<_>>();
    match word {
        "YYYY" | "YYY" | "YY" | "Y" | "IYYY" | "IYY" | "IY" | "I" => {
            let (year, digits) = r.integer(word, most)?;
            to.iso |= word.starts_with('I');
            to.year = Some(if digits < 4 && !matches!(word, "YYYY" | "IYYY") { near_2020(year, digits) } else { year });
        }
        "Y,YYY" => {
            let thousands = r.integer(word, 9)?.0;
            r.rest = r.rest.strip_prefix(',').ok_or_else(|| bad(r.rest, word, "Value must be an integer."))?;
            to.year = Some(thousands * 1000 + r.integer(word, 3)?.0);
        }
        "CC" => to.century = Some(r.integer(word, most)?.0),
        "MM" => to.month = Some(r.integer(word, most)?.0),
        "DD" => to.day = Some(r.integer(word, most)?.0),
        "DDD" => to.day_of_year = Some(r.integer(word, most)?.0),
        "J" => to.julian = Some(r.integer(word, most)?.0),
        "WW" => to.week = Some(r.integer(word, most)?.0),
        "W" => to.week_of_month = Some(r.integer(word, most)?.0),
        "IW" => (to.iso_week, to.iso) = (Some(r.integer(word, most)?.0), true),
        "ID" => to.iso_day = Some(r.integer(word, most)?.0),
        "D" | "Q" | "IDDD" => drop(r.integer(word, most)?),
        "HH24" => to.hour = r.integer(word, most)?.0,
        "HH12" | "HH" => {
            to.hour = r.integer(word, most)?.0;
            to.twelve = true;
            if !(1..=12).contains(&to.hour) {
                return Err(SqlError::new(
                    SqlState::INVALID_DATETIME_FORMAT,
                    format!("hour \"{}\" is invalid for the 12-hour clock", to.hour),
                )
                .hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
        }
        "MI" => to.minute = r.integer(word, most)?.0,
        "SS" => to.second = r.integer(word, most)?.0,
        "SSSS" | "SSSSS" => to.day_seconds = Some(r.integer(word, most)?.0),
        "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            let places = if word == "MS" { 3 } else { 6 };
            let (v, digits) = r.integer(word, most.min(places))?;
            to.micros += i64::from(v) * 10i64.pow(6 - digits.min(6) as u32);
        }
        "MONTH" | "MON" => {
            // Either form is taken for either word.
            let full = r.name(word, &MONTHS);
            let i = match full {
                Ok(i) => i,
                Err(_) => r.name(word, &names3(&MONTHS))?,
            };
            to.month = Some(i as i32 + 1);
        }
        "DAY" | "DY" => {
            if r.name(word, &DAYS).is_err() {
                r.name(word, &names3(&DAYS))?;
            }
        }
        "RM" => to.month = Some(r.name(word, &ROMAN_MONTHS)? as i32 + 1),
        "AM" | "PM" => (to.pm, to.twelve) = (Some(r.name(word, &["am", "pm"])? == 1), true),
        "A.M." | "P.M." => (to.pm, to.twelve) = (Some(r.name(word, &["a.m.", "p.m."])? == 1), true),
        "AD" | "BC" => to.bc = r.name(word, &["ad", "bc"])? == 1,
        "A.D." | "B.C." => to.bc = r.name(word, &["a.d.", "b.c."])? == 1,
        "TZH" => to.zone_hour = Some(r.integer(word, 3)?.0),
        "TZM" => to.zone_minute = r.integer(word, most)?.0,
        other => return err(SqlState::FEATURE_NOT_SUPPORTED, format!("formatting field \"{other}\" is only supported in to_char")),
    }
    Ok(())
}

fn read(input: &str, template: &str) -> Result<Read> {
    let all = pieces(template);
    let mut r = Reader { rest: input.trim_start() };
    let mut to = Read::default();
    for (i, piece) in all.iter().enumerate() {
        match piece {
            Piece::Text { c, quoted } => {
                if is_separator(*c) && !quoted {
                    let mut skipped = false;
                    r.rest = r.rest.trim_start_matches(|c: char| {
                        // A sign that begins a number belongs to it.
                        let take = is_separator(c) && !(skipped && matches!(c, '-' | '+'));
                        skipped |= !c.is_whitespace();
                        take
                    });
                } else if let Some(c) = r.rest.chars().next() {
                    r.rest = &r.rest[c.len_utf8()..];
                }
            }
            Piece::Field { word, fill, ordinal, .. } => {
                if r.rest.trim_start().is_empty() {
                    break;
                }
                let followed = matches!(all.get(i + 1), Some(Piece::Field { word, .. }) if is_number(word));
                let most = if *fill || !followed { 10 } else { width(word) };
                field(&mut r, &mut to, word, most)?;
                if ordinal.is_some() {
                    r.rest = r.rest.get(2..).unwrap_or("");
                }
            }
        }
    }
    Ok(to)
}

/// Days since 2000-01-01 of what was read.
fn day(to: &Read, input: &str) -> Result<i64> {
    if let Some(j) = to.julian {
        return Ok(i64::from(j) - i64::from(dt::EPOCH_JULIAN));
    }
    let mut year = match (to.year, to.century) {
        (Some(y), _) => y,
        (None, Some(c)) => (c - 1) * 100 + 1,
        // PostgreSQL's default: year 0, which is 1 BC.
        (None, None) => 0,
    };
    if to.bc && year > 0 {
        year = 1 - year;
    }
    if to.iso {
        let start = dt::iso_week_start(year, i64::from(to.iso_week.unwrap_or(1)));
        return Ok(start + i64::from(to.iso_day.unwrap_or(1)) - 1);
    }
    if let Some(n) = to.day_of_year {
        if !(1..=if dt::is_leap(year) { 366 } else { 365 }).contains(&n) {
            return Err(overflow(input));
        }
        return Ok(dt::days_from_civil(year, 1, 1) + i64::from(n) - 1);
    }
    if let Some(w) = to.week {
        return Ok(dt::days_from_civil(year, 1, 1) + i64::from(w - 1) * 7);
    }
    let month = to.month.unwrap_or(1);
    let of_month = to.day.unwrap_or_else(|| to.week_of_month.map_or(1, |w| (w - 1) * 7 + 1));
    let (m, d) = (u32::try_from(month).unwrap_or(0), u32::try_from(of_month).unwrap_or(0));
    if !(1..=12).contains(&m) || d < 1 || d > dt::days_in_month(year, m) {
        return Err(overflow(input));
    }
    Ok(dt::days_from_civil(year, m, d))
}

fn to_timestamp(ctx: &EvalContext<'_>, input: &str, template: &str) -> Result<Datum> {
    let to = read(input, template)?;
    let days = day(&to, input)?;
    let (mut hour, mut minute, mut second) = (to.hour, to.minute, to.second);
    if let Some(n) = to.day_seconds {
        (hour, minute, second) = (n / 3600, n / 60 % 60, n % 60);
    }
    if to.twelve {
        match to.pm {
            Some(true) if hour < 12 => hour += 12,
            Some(false) | None if hour == 12 => hour = 0,
            _ => {}
        }
    }
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return Err(overflow(input));
    }
    let clock = i64::from(hour * 3600 + minute * 60 + second) * dt::MICROS_PER_SECOND + to.micros;
    let local = days.checked_mul(dt::MICROS_PER_DAY).and_then(|d| d.checked_add(clock)).ok_or_else(|| overflow(input))?;
    let local = dt::check_timestamp(local)?;
    if let Some(h) = to.zone_hour {
        let east = i64::from(h.abs() * 3600 + to.zone_minute * 60) * if h < 0 { -1 } else { 1 };
        return Ok(Datum::TimestampTz(dt::check_timestamp(local - east * dt::MICROS_PER_SECOND)?));
    }
    dt::timestamp_to_timestamptz(local, &ctx.session.timezone).map(Datum::TimestampTz)
}

pub(super) const ENTRIES: &[Entry] = &[
    s("to_date", |_, x| {
        let input = text(&x[0])?;
        let days = day(&read(input, text(&x[1])?)?, input)?;
        let days = i32::try_from(days).map_err(|_| overflow(input))?;
        dt::check_date(days).map(Datum::Date)
    }),
    s("to_timestamp", |c, x| to_timestamp(c, text(&x[0])?, text(&x[1])?)),
];
