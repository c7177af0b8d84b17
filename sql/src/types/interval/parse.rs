//! Text input of intervals: PostgreSQL's own (`1 year 2 mons 3 days 04:05:06`, with `ago`), SQL standard (`1-2 3 4:05:06`)
//! and ISO 8601 (`P1Y2M3DT4H5M6S`, `P0001-02-03T04:05:06`).

use super::{DAY, FULL_PRECISION, FULL_RANGE, HOUR, Interval, MINUTE, MONTH, SECOND, YEAR, apply_typmod, out_of_range};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::SessionView;
use crate::types::datetime::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};

fn bad(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
}

fn overflow(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_INTERVAL, format!("interval field value out of range: \"{text}\""))
}

/// What a number in front of a unit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Micro,
    Milli,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

/// A unit by its name, abbreviations included.
pub(crate) fn unit(word: &str) -> Option<Unit> {
    // PostgreSQL compares ten characters only.
    Some(match word {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" | "microsecond" | "microseconds" => Unit::Micro,
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" | "millisecond" | "milliseconds" => Unit::Milli,
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "qtr" | "quarter" | "quarters" => Unit::Quarter,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

/// The running sum; wider than the result so that only the end need be checked.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

/// A decimal number: whole part and fraction, both with the sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    fraction: f64,
    /// Fraction in millionths, rounded.
    millionths: i64,
    negative: bool,
}

fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? * sign };
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? * f64::from(sign as i32) };
    Some(Number { whole, fraction, millionths: (fraction * 1e6).round_ties_even() as i64, negative })
}

impl Sum {
    fn add_days_fraction(&mut self, days: f64) {
        let whole = days.trunc();
        self.days += whole as i128;
        self.micros += ((days - whole) * MICROS_PER_DAY as f64).round_ties_even() as i128;
    }
    fn add(&mut self, n: Number, unit: Unit) {
        let whole = i128::from(n.whole);
        let micros = |sum: &mut Sum, scale: i64| {
            sum.micros += whole * i128::from(scale) + (n.fraction * scale as f64).round_ties_even() as i128;
        };
        match unit {
            Unit::Micro => micros(self, 1),
            Unit::Milli => micros(self, 1000),
            Unit::Second => self.micros += whole * i128::from(MICROS_PER_SECOND) + i128::from(n.millionths),
            Unit::Minute => micros(self, MICROS_PER_MINUTE),
            Unit::Hour => micros(self, MICROS_PER_HOUR),
            Unit::Day => {
                self.days += whole;
                self.micros += (n.fraction * MICROS_PER_DAY as f64).round_ties_even() as i128;
            }
            Unit::Week => {
                self.days += whole * 7;
                self.add_days_fraction(n.fraction * 7.0);
            }
            Unit::Month => {
                self.months += whole;
                self.add_days_fraction(n.fraction * 30.0);
            }
            Unit::Quarter => self.years(whole * 3, n.fraction * 3.0),
            Unit::Year => self.years(whole * 12, n.fraction * 12.0),
            Unit::Decade => self.years(whole * 120, n.fraction * 120.0),
            Unit::Century => self.years(whole * 1200, n.fraction * 1200.0),
            Unit::Millennium => self.years(whole * 12_000, n.fraction * 12_000.0),
        }
    }
    fn years(&mut self, months: i128, fraction: f64) {
        self.months += months + fraction.round_ties_even() as i128;
    }
    fn finish(self, text: &str) -> Result<Interval> {
        Ok(Interval {
            // Years that fit a field but not as months are out of the type's range, not the field's.
            months: self
                .months
                .try_into()
                .map_err(|_| if i32::try_from(self.months / 12).is_ok() { out_of_range() } else { overflow(text) })?,
            days: self.days.try_into().map_err(|_| overflow(text))?,
            micros: self.micros.try_into().map_err(|_| overflow(text))?,
        })
    }
}

/// Reads an interval; `typmod` says what a bare number counts and is applied to the result.
pub fn parse_interval(text: &str, typmod: i32, session: &SessionView) -> Result<Interval> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = trimmed.to_ascii_lowercase();
    let range = if typmod < 0 { FULL_RANGE } else { (typmod >> 16) & FULL_RANGE };
    let parsed = match lower.strip_prefix('p') {
        Some(rest) if !rest.is_empty() => parse_iso(rest, text)?,
        _ => parse_words(&lower, text, range, session.intervalstyle == "sql_standard")?,
    };
    if typmod < 0 || (range == FULL_RANGE && typmod & FULL_PRECISION == FULL_PRECISION) { Ok(parsed) } else { apply_typmod(parsed, typmod) }
}

/// One token of the traditional form.
#[derive(Debug)]
enum Token<'a> {
    Number(&'a str),
    /// `[±]h:m[:s]`
    Clock(&'a str),
    /// `[±]y-m`
    YearMonth(&'a str),
    Word(&'a str),
}

fn tokens<'a>(lower: &'a str, text: &str) -> Result<Vec<Token<'a>>> {
    let bytes = lower.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        if b.is_ascii_whitespace() || matches!(b, b'@' | b',' | b';' | b'(' | b')') {
            i += 1;
            continue;
        }
        let start = i;
        if b.is_ascii_alphabetic() {
            while i < bytes.len() && bytes[i].is_ascii_alphabetic() {
                i += 1;
            }
            out.push(Token::Word(&lower[start..i]));
            if bytes.get(i) == Some(&b'.') {
                i += 1;
            }
            continue;
        }
        if matches!(b, b'+' | b'-') {
            i += 1;
            // A sign may stand apart from its number.
            while bytes.get(i).is_some_and(u8::is_ascii_whitespace) {
                i += 1;
            }
        }
        let digits = i;
        while i < bytes.len() && (bytes[i].is_ascii_digit() || bytes[i] == b'.') {
            i += 1;
        }
        if i == digits {
            return Err(bad(text));
        }
        match bytes.get(i) {
            Some(b':') => {
                while i < bytes.len() && (bytes[i].is_ascii_digit() || matches!(bytes[i], b'.' | b':')) {
                    i += 1;
                }
                out.push(Token::Clock(&lower[start..i]));
            }
            Some(b'-') if bytes.get(i + 1).is_some_and(u8::is_ascii_digit) => {
                i += 1;
                while i < bytes.len() && bytes[i].is_ascii_digit() {
                    i += 1;
                }
                out.push(Token::YearMonth(&lower[start..i]));
            }
            _ => out.push(Token::Number(&lower[start..i])),
        }
    }
    Ok(out)
}

fn compact(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

/// Micros of `[±]h:m[:s]`; two fields are minutes and seconds where the modifier says so.
fn clock(token: &str, range: i32, text: &str) -> Result<(i128, bool)> {
    let token = compact(token);
    let negative = token.starts_with('-');
    let body = token.trim_start_matches(['+', '-']);
    let parts: Vec<&str> = body.split(':').collect();
    let int = |s: &str| s.parse::<i64>().map(i128::from).map_err(|_| bad(text));
    let seconds = |s: &str| number(s).map(|n| i128::from(n.whole) * 1_000_000 + i128::from(n.millionths)).ok_or_else(|| bad(text));
    let (h, m, s) = match parts[..] {
        [m, s] if range == MINUTE | SECOND || s.contains('.') => (0, int(m)?, seconds(s)?),
        [h, m] => (int(h)?, int(m)?, 0),
        [h, m, s] => (int(h)?, int(m)?, if s.is_empty() { 0 } else { seconds(s)? }),
        _ => return Err(bad(text)),
    };
    if m > 59 || s > 60_000_000 {
        return Err(overflow(text));
    }
    let micros = h * i128::from(MICROS_PER_HOUR) + m * i128::from(MICROS_PER_MINUTE) + s;
    Ok((if negative { -micros } else { micros }, negative))
}

/// What a number without a unit counts, by the modifier.
fn default_unit(range: i32) -> Unit {
    match range {
        YEAR => Unit::Year,
        r if r == MONTH || r == YEAR | MONTH => Unit::Month,
        DAY => Unit::Day,
        r if r == HOUR || r == DAY | HOUR => Unit::Hour,
        r if r == MINUTE || r == HOUR | MINUTE || r == DAY | HOUR | MINUTE => Unit::Minute,
        _ => Unit::Second,
    }
}

fn parse_words(lower: &str, text: &str, range: i32, sql_standard: bool) -> Result<Interval> {
    let all = tokens(lower, text)?;
    if all.is_empty() {
        return Err(bad(text));
    }
    // SQL standard: a minus in front of the first field negates every unsigned one.
    let signs =
        all.iter().filter(|t| matches!(t, Token::Number(s) | Token::Clock(s) | Token::YearMonth(s) if s.starts_with(['+', '-']))).count();
    let leading_minus = matches!(all[0], Token::Number(s) | Token::Clock(s) | Token::YearMonth(s) if s.starts_with('-'));
    let negate_all = sql_standard && leading_minus && signs == 1;
    let mut sum = Sum::default();
    let mut ago = false;
    // From the right: a number belongs to the unit after it, or to the kind of field after it.
    let mut pending: Option<Unit> = None;
    let mut next_default = None;
    let mut seen: Vec<Unit> = Vec::new();
    for (i, token) in all.iter().enumerate().rev() {
        match token {
            Token::Word("ago") if i == all.len() - 1 => ago = true,
            Token::Word(word) => {
                if pending.is_some() {
                    return Err(bad(text));
                }
                pending = Some(unit(&word[..word.len().min(12)]).ok_or_else(|| bad(text))?);
            }
            Token::Clock(s) => {
                if pending.take().is_some_and(|u| !matches!(u, Unit::Hour | Unit::Minute | Unit::Second)) || seen.contains(&Unit::Hour) {
                    return Err(bad(text));
                }
                let (micros, _) = clock(s, range, text)?;
                sum.micros += if negate_all && i > 0 { -micros } else { micros };
                seen.extend([Unit::Hour, Unit::Minute, Unit::Second]);
                // A number in front of a clock counts days.
                next_default = Some(Unit::Day);
            }
            Token::YearMonth(s) => {
                if pending.take().is_some_and(|u| u != Unit::Year && u != Unit::Month) {
                    return Err(bad(text));
                }
                let s = compact(s);
                let negative = s.starts_with('-');
                let body = s.trim_start_matches(['+', '-']);
                let (years, months) = body.split_once('-').ok_or_else(|| bad(text))?;
                let (y, m) = (years.parse::<i64>().map_err(|_| bad(text))?, months.parse::<i64>().map_err(|_| bad(text))?);
                if m > 11 {
                    return Err(overflow(text));
                }
                let months = i128::from(y) * 12 + i128::from(m);
                sum.months += if negative || (negate_all && i > 0) { -months } else { months };
                seen.extend([Unit::Year, Unit::Month]);
            }
            Token::Number(s) => {
                let mut n = number(&compact(s)).ok_or_else(|| overflow(text))?;
                if negate_all && i > 0 && !n.negative {
                    n = Number { whole: -n.whole, fraction: -n.fraction, millionths: -n.millionths, negative: true };
                }
                let unit = match (pending.take(), next_default.take()) {
                    (Some(unit), _) | (None, Some(unit)) => unit,
                    // Only the last field may go without a unit.
                    (None, None) if i == all.len() - 1 => default_unit(range),
                    (None, None) => return Err(bad(text)),
                };
                if seen.contains(&unit) {
                    return Err(bad(text));
                }
                seen.push(unit);
                sum.add(n, unit);
                // `3 4:05` and `1-2 3`: handled above; `3 days 4` leaves 4 as seconds.
            }
        }
    }
    if pending.is_some() || seen.is_empty() {
        return Err(bad(text));
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    sum.finish(text)
}

fn parse_iso(rest: &str, text: &str) -> Result<Interval> {
    let mut sum = Sum::default();
    let mut in_time = false;
    let mut rest = rest;
    let mut any = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('t') {
            if in_time {
                return Err(bad(text));
            }
            in_time = true;
            rest = after;
            continue;
        }
        let end = rest
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && matches!(c, '+' | '-'))))
            .map_or(rest.len(), |(i, _)| i);
        let n = number(&rest[..end]).ok_or_else(|| bad(text))?;
        let designator = rest[end..].chars().next();
        any = true;
        let unit = match (designator, in_time) {
            (Some('y'), false) => Unit::Year,
            (Some('m'), false) => Unit::Month,
            (Some('w'), false) => Unit::Week,
            (Some('d'), false) => Unit::Day,
            (Some('h'), true) => Unit::Hour,
            (Some('m'), true) => Unit::Minute,
            (Some('s'), true) => Unit::Second,
            // The alternative form: `0001-02-03T04:05:06`, `00010203T040506`.
            (Some('-' | ':' | 't') | None, _) => return iso_alternative(rest, in_time, sum, text),
            _ => return Err(bad(text)),
        };
        sum.add(n, unit);
        rest = &rest[end + 1..];
    }
    if !any {
        return Err(bad(text));
    }
    sum.finish(text)
}

fn iso_alternative(rest: &str, in_time: bool, mut sum: Sum, text: &str) -> Result<Interval> {
    let (date, time) = if in_time { ("", rest) } else { rest.split_once('t').unwrap_or((rest, "")) };
    let negative = |s: &str| s.starts_with('-');
    let fields = |body: &str, separator: char, widths: [usize; 3]| -> Option<Vec<String>> {
        let sign = if negative(body) { "-" } else { "" };
        let body = body.trim_start_matches(['+', '-']);
        if body.contains(separator) || body.len() <= widths[0] {
            return Some(body.split(separator).map(|f| format!("{sign}{f}")).collect());
        }
        let mut out = Vec::new();
        let mut at = 0;
        for width in widths {
            let end = if out.len() == 2 { body.len() } else { (at + width).min(body.len()) };
            if at < end {
                out.push(format!("{sign}{}", body.get(at..end)?));
            }
            at = end;
        }
        Some(out)
    };
    for (part, separator, widths, units) in
        [(date, '-', [4, 2, 2], [Unit::Year, Unit::Month, Unit::Day]), (time, ':', [2, 2, 2], [Unit::Hour, Unit::Minute, Unit::Second])]
    {
        if part.is_empty() {
            continue;
        }
        let fields = fields(part, separator, widths).ok_or_else(|| bad(text))?;
        if fields.len() > 3 {
            return Err(bad(text));
        }
        for (field, unit) in fields.iter().zip(units) {
            sum.add(number(field).ok_or_else(|| bad(text))?, unit);
        }
    }
    sum.finish(text)
}
