//! Text input of dates and times: a condensed `ParseDateTime` and `DecodeDateTime`.
//!
//! The text is first cut into tokens by shape alone (number, date, clock, zone, word), then each token fills fields; a bit mask
//! of the fields already filled decides what a bare number means, together with the order half of `DateStyle`.

use super::calendar::*;
use super::format::{DateOrder, DateStyle};
use super::tokens::{Special, Token, special, tokenize};
use super::zone::{Zone, abbreviation, find_zone, local_to_utc, utc_to_local, zone_or_error};
use crate::error::{Result, SqlError, SqlState};
use crate::types::text_io::Io;

/// Why a text is refused; becomes an error once the type's name is known.
enum Fail {
    Syntax,
    Overflow,
    /// A month or day out of range: the order of fields may be the reason.
    MonthDay,
    Displacement,
    Sql(SqlError),
}

impl From<SqlError> for Fail {
    fn from(e: SqlError) -> Self {
        Fail::Sql(e)
    }
}

type Decode<T> = std::result::Result<T, Fail>;

impl Fail {
    fn into_error(self, ty: &str, text: &str) -> SqlError {
        match self {
            Fail::Syntax => SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type {ty}: \"{text}\"")),
            Fail::Overflow => SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\"")),
            Fail::MonthDay => Fail::Overflow.into_error(ty, text).hint("Perhaps you need a different \"datestyle\" setting."),
            Fail::Displacement => SqlError::new(SqlState("22009"), format!("time zone displacement out of range: \"{text}\"")),
            Fail::Sql(e) => e,
        }
    }
}

const YEAR: u8 = 1;
const MONTH: u8 = 2;
const DAY: u8 = 4;
const DATE: u8 = YEAR | MONTH | DAY;
const TIME: u8 = 8;
const TZ: u8 = 16;
const DOY: u8 = 32;

/// What has been read so far.
struct Fields {
    order: DateOrder,
    mask: u8,
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    micros: i64,
    zone: Option<Zone>,
    text_month: bool,
    two_digits: bool,
    bc: bool,
    julian: bool,
    pm: Option<bool>,
    hour: i64,
}

/// What a text says.
enum Decoded {
    Fields(Box<Fields>),
    Infinite(bool),
    Epoch,
    /// `now`
    Instant,
}

fn int(text: &str) -> Decode<i64> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Fail::Syntax);
    }
    text.parse::<i32>().map(i64::from).map_err(|_| Fail::Overflow)
}

/// Microseconds of `.ffffff…`, rounded.
fn fraction(digits: &str) -> Decode<i64> {
    if digits.is_empty() {
        return Ok(0);
    }
    if !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Fail::Syntax);
    }
    let value: f64 = format!("0.{digits}").parse().map_err(|_| Fail::Syntax)?;
    Ok((value * 1e6).round_ties_even() as i64)
}

impl Fields {
    fn new(order: DateOrder) -> Fields {
        Fields {
            order,
            mask: 0,
            year: 0,
            month: 0,
            day: 0,
            day_of_year: 0,
            micros: 0,
            zone: None,
            text_month: false,
            two_digits: false,
            bc: false,
            julian: false,
            pm: None,
            hour: 0,
        }
    }

    fn set(&mut self, bit: u8, value: i64) -> Decode<()> {
        if self.mask & bit != 0 {
            return Err(Fail::Syntax);
        }
        self.mask |= bit;
        match bit {
            YEAR => self.year = value,
            MONTH => self.month = value,
            _ => self.day = value,
        }
        Ok(())
    }

    fn set_clock(&mut self, hour: i64, minute: i64, second: i64, micros: i64) -> Decode<()> {
        if self.mask & TIME != 0 {
            return Err(Fail::Syntax);
        }
        self.mask |= TIME;
        let seconds = second * MICROS_PER_SECOND + micros;
        if minute > 59 || second > 60 || seconds > 60 * MICROS_PER_SECOND || hour > 24 || (hour == 24 && (minute > 0 || seconds > 0)) {
            return Err(Fail::Overflow);
        }
        self.hour = hour;
        self.micros = hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + seconds;
        Ok(())
    }

    fn clock(&mut self, token: &str) -> Decode<()> {
        let (whole, digits) = token.split_once('.').unwrap_or((token, ""));
        let micros = fraction(digits)?;
        let parts: Vec<&str> = whole.split(':').collect();
        match parts[..] {
            // `mm:ss.fff`
            [m, s] if token.contains('.') => self.set_clock(0, int(m)?, int(s)?, micros),
            [h, m] => self.set_clock(int(h)?, int(m)?, 0, 0),
            [h, m, s] => self.set_clock(int(h)?, int(m)?, int(s)?, micros),
            _ => Err(Fail::Syntax),
        }
    }

    /// A run of digits that is several fields at once: `yyyymmdd`, `hhmmss`, `hhmm`.
    fn run_together(&mut self, token: &str, date_done: bool) -> Decode<()> {
        let (whole, digits) = token.split_once('.').unwrap_or((token, ""));
        let part = |from: usize, to: usize| int(&whole[from..to]);
        if !token.contains('.') && !date_done && self.mask & DATE != DATE && whole.len() >= 6 {
            let n = whole.len();
            self.two_digits = n - 4 == 2;
            self.set(DAY, part(n - 2, n)?)?;
            self.set(MONTH, part(n - 4, n - 2)?)?;
            return self.set(YEAR, part(0, n - 4)?);
        }
        match whole.len() {
            6 => self.set_clock(part(0, 2)?, part(2, 4)?, part(4, 6)?, fraction(digits)?),
            4 => self.set_clock(part(0, 2)?, part(2, 4)?, 0, fraction(digits)?),
            _ => Err(Fail::Syntax),
        }
    }

    /// A number on its own, or one part of a date.
    fn number(&mut self, token: &str) -> Decode<()> {
        let len = token.len();
        if let Some((whole, digits)) = token.split_once('.') {
            if whole.len() > 2 {
                return self.run_together(token, false);
            }
            fraction(digits)?;
            return Err(Fail::Syntax);
        }
        if self.mask & DATE == DATE {
            return self.run_together(token, true);
        }
        let value = int(token)?;
        if len == 3 && self.mask & DATE == YEAR && (1..=366).contains(&value) {
            self.mask |= DOY | MONTH | DAY;
            self.day_of_year = value;
            return Ok(());
        }
        let bit = match self.mask & DATE {
            0 if len >= 3 || self.order == DateOrder::Ymd => YEAR,
            0 if self.order == DateOrder::Dmy => DAY,
            0 => MONTH,
            YEAR => MONTH,
            MONTH if self.text_month && (len >= 3 || self.order == DateOrder::Ymd) => YEAR,
            MONTH => DAY,
            m if m == YEAR | MONTH => {
                if self.text_month && len >= 3 && self.two_digits {
                    // The first number was the day after all.
                    self.day = self.year;
                    self.year = value;
                    self.two_digits = false;
                    self.mask |= DAY;
                    return Ok(());
                }
                DAY
            }
            DAY => MONTH,
            m if m == MONTH | DAY => YEAR,
            _ => return Err(Fail::Syntax),
        };
        if bit == YEAR {
            self.two_digits = len <= 2;
        }
        self.set(bit, value)
    }

    fn text_month(&mut self, month: u32) -> Decode<()> {
        // `Jan 08 1999` in a style that took 08 for the month: it was the day.
        if self.mask & MONTH != 0 && !self.text_month && self.mask & DAY == 0 && (1..=31).contains(&self.month) {
            self.day = self.month;
            self.mask = (self.mask | DAY) & !MONTH;
        }
        self.text_month = true;
        self.set(MONTH, i64::from(month))
    }

    fn date(&mut self, token: &str) -> Decode<()> {
        let mut parts = Vec::new();
        let mut rest = token.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        while !rest.is_empty() {
            if parts.len() == 3 {
                return Err(Fail::Syntax);
            }
            let digits = rest.as_bytes()[0].is_ascii_digit();
            let end = rest.find(|c: char| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphabetic() }).unwrap_or(rest.len());
            parts.push((&rest[..end], digits));
            rest = rest[end..].trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        }
        // A month by name first: it is unambiguous.
        for (part, digits) in &parts {
            if !digits {
                match special(&part.to_ascii_lowercase()) {
                    Some(Special::Month(m)) => self.text_month(m)?,
                    _ => return Err(Fail::Syntax),
                }
            }
        }
        for (part, digits) in &parts {
            if *digits {
                self.number(part)?;
            }
        }
        if self.mask & DATE != DATE { Err(Fail::Syntax) } else { Ok(()) }
    }

    fn set_zone(&mut self, zone: Zone) -> Decode<()> {
        if self.mask & TZ != 0 {
            return Err(Fail::Syntax);
        }
        self.mask |= TZ;
        self.zone = Some(zone);
        Ok(())
    }

    /// BC, two-digit years, days of the year, 12-hour clocks, limits.
    fn validate(&mut self) -> Decode<()> {
        if self.mask & YEAR != 0 && !self.julian {
            if self.bc {
                if self.year <= 0 {
                    return Err(Fail::Overflow);
                }
                self.year = 1 - self.year;
            } else if self.two_digits {
                self.year += if self.year < 70 {
                    2000
                } else if self.year < 100 {
                    1900
                } else {
                    0
                };
            } else if self.year <= 0 {
                return Err(Fail::Overflow);
            }
        }
        if self.mask & DOY != 0 {
            let (y, m, d) = from_julian(to_julian(self.year, 1, 1) + self.day_of_year - 1);
            (self.year, self.month, self.day) = (i64::from(y), i64::from(m), i64::from(d));
        }
        if self.mask & MONTH != 0 && !(1..=12).contains(&self.month) || self.mask & DAY != 0 && !(1..=31).contains(&self.day) {
            return Err(Fail::MonthDay);
        }
        if self.mask & DATE == DATE && self.day > i64::from(days_in_month(self.year as i32, self.month as u32)) {
            return Err(Fail::Overflow);
        }
        if let Some(pm) = self.pm {
            if self.hour > 12 {
                return Err(Fail::Overflow);
            }
            if pm && self.hour != 12 {
                self.micros += 12 * MICROS_PER_HOUR;
            } else if !pm && self.hour == 12 {
                self.micros -= 12 * MICROS_PER_HOUR;
            }
        }
        Ok(())
    }
}

/// `+hh`, `+hh:mm[:ss]`, `+hhmm`: seconds east.
fn displacement(token: &str) -> Decode<i32> {
    let (sign, body) = token.split_at(1);
    let parts: Vec<&str> = body.split(':').collect();
    let (h, m, s) = match parts[..] {
        [run] if run.len() > 2 => {
            let n = int(run)?;
            (n / 100, n % 100, 0)
        }
        [h] => (int(h)?, 0, 0),
        [h, m] => (int(h)?, int(m)?, 0),
        [h, m, s] => (int(h)?, int(m)?, int(s)?),
        _ => return Err(Fail::Syntax),
    };
    if h > 15 || m > 59 || s > 59 {
        return Err(Fail::Displacement);
    }
    let seconds = (h * 3600 + m * 60 + s) as i32;
    Ok(if sign == "-" { -seconds } else { seconds })
}

fn now(io: &Io<'_>) -> Decode<i64> {
    io.now.ok_or_else(|| Fail::Sql(SqlError::unsupported("\"now\" as input without a clock")))
}

fn session_zone(io: &Io<'_>) -> Decode<Zone> {
    Ok(zone_or_error(&io.session.timezone)?)
}

fn decode(text: &str, io: &Io<'_>, time_only: bool) -> Decode<Decoded> {
    let tokens = tokenize(text).ok_or(Fail::Syntax)?;
    if tokens.is_empty() {
        return Err(Fail::Syntax);
    }
    let (_, order) = DateStyle::of(io.session);
    let mut f = Fields::new(order);
    let mut julian_next = false;
    let only = tokens.len() == 1;
    for token in tokens {
        if julian_next {
            julian_next = false;
            let Token::Number(n) = &token else { return Err(Fail::Syntax) };
            let (whole, digits) = n.split_once('.').unwrap_or((n, ""));
            let (y, m, d) = from_julian(int(whole)?);
            f.set(YEAR, i64::from(y))?;
            f.set(MONTH, i64::from(m))?;
            f.set(DAY, i64::from(d))?;
            f.julian = true;
            if !digits.is_empty() {
                let day: f64 = format!("0.{digits}").parse().map_err(|_| Fail::Syntax)?;
                f.micros = (day * MICROS_PER_DAY as f64) as i64;
                f.mask |= TIME;
            }
            continue;
        }
        match token {
            Token::Number(n) => {
                let (whole_len, dotted) = (n.find('.').unwrap_or(n.len()), n.contains('.'));
                if time_only && f.mask & DATE != DATE {
                    f.run_together(&n, true)?;
                } else if dotted && f.mask & DATE == 0 {
                    f.date(&n)?;
                } else if (dotted && whole_len > 2) || (n.len() >= 6 && (f.mask & DATE == 0 || f.mask & TIME == 0)) {
                    f.run_together(&n, f.mask & DATE == DATE)?;
                } else {
                    f.number(&n)?;
                }
            }
            // `hhmm-tz`: nothing but a time can be meant.
            Token::Date(d) if time_only && only && d.as_bytes()[0].is_ascii_digit() => {
                let at = d.rfind('-').ok_or(Fail::Syntax)?;
                f.run_together(&d[..at], true)?;
                f.set_zone(Zone::Fixed(displacement(&d[at..])?, String::new()))?;
            }
            Token::Date(d) => {
                if f.mask & (MONTH | DAY) == MONTH | DAY || (time_only && !d.as_bytes()[0].is_ascii_digit()) {
                    // A zone by its full name.
                    if d.as_bytes()[0].is_ascii_digit() {
                        return Err(Fail::Syntax);
                    }
                    f.set_zone(zone_or_error(&d.to_ascii_lowercase())?)?;
                } else if d.as_bytes()[0].is_ascii_alphabetic() && find_zone(&d).is_some() && special(&d.to_ascii_lowercase()).is_none() {
                    f.set_zone(zone_or_error(&d.to_ascii_lowercase())?)?;
                } else {
                    f.date(&d)?;
                }
            }
            Token::Time(t) => f.clock(&t)?,
            Token::Zone(z) => {
                let offset = displacement(&z)?;
                match f.zone.take() {
                    // `UTC+3`: an offset from the abbreviation.
                    Some(Zone::Fixed(base, _)) => f.zone = Some(Zone::Fixed(base + offset, String::new())),
                    Some(Zone::Named(_)) => return Err(Fail::Syntax),
                    None => f.set_zone(Zone::Fixed(offset, String::new()))?,
                }
            }
            Token::Word(w) | Token::Signed(w) => match special(&w) {
                Some(Special::Now) if only => return Ok(Decoded::Instant),
                Some(Special::Epoch) if only => return Ok(Decoded::Epoch),
                Some(Special::Infinity) if only => return Ok(Decoded::Infinite(false)),
                Some(Special::NegInfinity) if only => return Ok(Decoded::Infinite(true)),
                Some(day @ (Special::Today | Special::Tomorrow | Special::Yesterday)) => {
                    let local = utc_to_local(now(io)?, &session_zone(io)?)?;
                    let shift = match day {
                        Special::Tomorrow => 1,
                        Special::Yesterday => -1,
                        _ => 0,
                    };
                    let (y, m, d) = civil_from_days(local.div_euclid(MICROS_PER_DAY) + shift);
                    f.set(YEAR, i64::from(y))?;
                    f.set(MONTH, i64::from(m))?;
                    f.set(DAY, i64::from(d))?;
                    f.julian = true;
                }
                Some(Special::AllBalls) => {
                    f.set_clock(0, 0, 0, 0)?;
                    f.set_zone(Zone::Fixed(0, String::new()))?;
                }
                Some(Special::Month(m)) => f.text_month(m)?,
                Some(Special::Am) => f.pm = Some(false),
                Some(Special::Pm) => f.pm = Some(true),
                Some(Special::Bc) => f.bc = true,
                Some(Special::Julian) => julian_next = true,
                Some(Special::Weekday | Special::Ad | Special::Ignore) => {}
                Some(_) => return Err(Fail::Syntax),
                None => match abbreviation(&w).map(|o| Zone::Fixed(o, String::new())).or_else(|| find_zone(&w)) {
                    Some(zone) if !w.starts_with(['+', '-']) => f.set_zone(zone)?,
                    _ => return Err(Fail::Syntax),
                },
            },
        }
    }
    if julian_next {
        return Err(Fail::Syntax);
    }
    f.validate()?;
    let complete = if time_only { f.mask & TIME != 0 } else { f.mask & DATE == DATE };
    if complete { Ok(Decoded::Fields(Box::new(f))) } else { Err(Fail::Syntax) }
}

impl Fields {
    fn days(&self) -> i64 {
        to_julian(self.year, self.month, self.day) - i64::from(EPOCH_JULIAN)
    }
    fn local(&self, text: &str) -> Result<i64> {
        let range = || SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""));
        let t = self.days().checked_mul(MICROS_PER_DAY).and_then(|t| t.checked_add(self.micros)).ok_or_else(range)?;
        if (MIN_TIMESTAMP..END_TIMESTAMP).contains(&t) { Ok(t) } else { Err(range()) }
    }
}

/// Reads a `date`.
pub fn parse_date(text: &str, io: &Io<'_>) -> Result<i32> {
    let fail = |f: Fail| f.into_error("date", text);
    match decode(text, io, false).map_err(fail)? {
        Decoded::Infinite(negative) => Ok(if negative { i32::MIN } else { i32::MAX }),
        Decoded::Epoch => Ok(-10_957),
        Decoded::Instant => {
            let zone = session_zone(io).map_err(fail)?;
            timestamp_to_date(utc_to_local(now(io).map_err(fail)?, &zone)?)
        }
        Decoded::Fields(f) => {
            let days = f.days();
            if (i64::from(MIN_DATE)..i64::from(END_DATE)).contains(&days) {
                Ok(days as i32)
            } else {
                Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\"")))
            }
        }
    }
}

/// Reads a `timestamp`; a zone in the text is ignored.
pub fn parse_timestamp(text: &str, io: &Io<'_>) -> Result<i64> {
    let fail = |f: Fail| f.into_error("timestamp", text);
    match decode(text, io, false).map_err(fail)? {
        Decoded::Infinite(negative) => Ok(if negative { i64::MIN } else { i64::MAX }),
        Decoded::Epoch => Ok(-UNIX_EPOCH_SECONDS * MICROS_PER_SECOND),
        Decoded::Instant => {
            let zone = session_zone(io).map_err(fail)?;
            utc_to_local(now(io).map_err(fail)?, &zone)
        }
        Decoded::Fields(f) => f.local(text),
    }
}

/// Reads a `timestamptz`; without a zone in the text the session's holds.
pub fn parse_timestamptz(text: &str, io: &Io<'_>) -> Result<i64> {
    let fail = |f: Fail| f.into_error("timestamp with time zone", text);
    match decode(text, io, false).map_err(fail)? {
        Decoded::Infinite(negative) => Ok(if negative { i64::MIN } else { i64::MAX }),
        Decoded::Epoch => Ok(-UNIX_EPOCH_SECONDS * MICROS_PER_SECOND),
        Decoded::Instant => now(io).map_err(fail),
        Decoded::Fields(mut f) => {
            let zone = match f.zone.take() {
                Some(zone) => zone,
                None => session_zone(io).map_err(fail)?,
            };
            let local = f.local(text)?;
            local_to_utc(local, &zone)
                .map_err(|_| SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\"")))
        }
    }
}

fn time_fields(text: &str, ty: &str, io: &Io<'_>) -> Result<(i64, Option<Zone>, i64)> {
    let fail = |f: Fail| f.into_error(ty, text);
    match decode(text, io, true).map_err(fail)? {
        Decoded::Fields(f) => {
            let local = if f.mask & DATE == DATE { f.local(text)? } else { f.micros };
            if f.mask & DATE != DATE && matches!(f.zone, Some(Zone::Named(_))) {
                return Err(fail(Fail::Syntax));
            }
            Ok((f.micros, f.zone, local))
        }
        Decoded::Instant => {
            let zone = session_zone(io).map_err(fail)?;
            let local = utc_to_local(now(io).map_err(fail)?, &zone)?;
            Ok((local.rem_euclid(MICROS_PER_DAY), None, local))
        }
        _ => Err(fail(Fail::Syntax)),
    }
}

/// Reads a `time`; a zone in the text is ignored.
pub fn parse_time(text: &str, io: &Io<'_>) -> Result<i64> {
    time_fields(text, "time", io).map(|(micros, _, _)| micros)
}

/// Reads a `timetz`: microseconds, and seconds west.
pub fn parse_timetz(text: &str, io: &Io<'_>) -> Result<(i64, i32)> {
    let (micros, zone, local) = time_fields(text, "time with time zone", io)?;
    match zone {
        Some(zone) => Ok((micros, -zone.offset_for_local(local))),
        None => Ok((micros, super::zone::current_zone_offset(io)?)),
    }
}
