//! Time zones: names from the bundled IANA database, abbreviations, and fixed offsets in PostgreSQL's spellings.
//!
//! A local time in a gap (clocks put forward) is read with the offset before the gap, one that occurs twice with the later
//! offset, as PostgreSQL does.

use std::cell::RefCell;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND, UNIX_EPOCH_SECONDS, check_timestamp, is_finite, timestamp_range};
use crate::error::{Result, SqlError, SqlState};
use crate::types::text_io::Io;

/// A time zone.
#[derive(Clone, Debug)]
pub enum Zone {
    /// A fixed offset in seconds east of UTC, with the name it prints under (empty: by its offset).
    Fixed(i32, String),
    /// A zone of the database.
    Named(TimeZone),
}

/// Abbreviations (PostgreSQL's `Default` set, the unambiguous and common part), in seconds east.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("zulu", 0),
    ("ut", 0),
    ("uct", 0),
    ("wet", 0),
    ("west", 3600),
    ("bst", 3600),
    ("cet", 3600),
    ("cest", 7200),
    ("met", 3600),
    ("mest", 7200),
    ("mez", 3600),
    ("mesz", 7200),
    ("eet", 7200),
    ("eest", 10800),
    ("msk", 10800),
    ("msd", 14400),
    ("sast", 7200),
    ("eat", 10800),
    ("ist", 7200),
    ("idt", 10800),
    ("pkt", 18000),
    ("ict", 25200),
    ("sgt", 28800),
    ("hkt", 28800),
    ("awst", 28800),
    ("cst", -21600),
    ("jst", 32400),
    ("kst", 32400),
    ("acst", 34200),
    ("acdt", 37800),
    ("aest", 36000),
    ("aedt", 39600),
    ("nzst", 43200),
    ("nzdt", 46800),
    ("est", -18000),
    ("edt", -14400),
    ("cdt", -18000),
    ("mst", -25200),
    ("mdt", -21600),
    ("pst", -28800),
    ("pdt", -25200),
    ("akst", -32400),
    ("akdt", -28800),
    ("hst", -36000),
    ("ast", -14400),
    ("adt", -10800),
    ("nst", -12600),
    ("ndt", -9000),
    ("brt", -10800),
    ("art", -10800),
    ("clt", -14400),
    ("clst", -10800),
    ("cot", -18000),
    ("pet", -18000),
    ("wast", 7200),
    ("npt", 20700),
    ("uyt", -10800),
];

/// Every abbreviation, in lower case, with its offset in seconds east.
pub fn abbreviations() -> &'static [(&'static str, i32)] {
    ABBREVIATIONS
}

/// An abbreviation's offset in seconds east.
pub(super) fn abbreviation(word: &str) -> Option<i32> {
    ABBREVIATIONS.iter().find(|(name, _)| *name == word).map(|(_, offset)| *offset)
}

thread_local! {
    /// The last few zones looked up: a session asks for the same one row after row.
    static RECENT: RefCell<Vec<(String, Zone)>> = const { RefCell::new(Vec::new()) };
}
const RECENT_MAX: usize = 8;

fn database_zone(name: &str) -> Option<Zone> {
    TimeZoneDatabase::bundled().get(name).ok().map(Zone::Named)
}

/// `+3`, `-05:30`, `+05:30:15`: seconds as written, sign included.
fn parse_offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => (1, text),
    };
    let mut seconds = 0;
    let mut parts = 0;
    for (part, unit) in rest.split(':').zip([3600, 60, 1]) {
        if part.is_empty() || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        seconds += part.parse::<i32>().ok()? * unit;
        parts += 1;
    }
    (parts == rest.split(':').count() && seconds < 168 * 3600).then_some(sign * seconds)
}

fn lookup(name: &str) -> Option<Zone> {
    let trimmed = name.trim();
    if trimmed.eq_ignore_ascii_case("utc") || trimmed.eq_ignore_ascii_case("gmt") {
        return Some(Zone::Fixed(0, trimmed.to_ascii_uppercase()));
    }
    if let Some(zone) = database_zone(trimmed) {
        return Some(zone);
    }
    // `<+03>-03` and `<-05>+05`: what SHOW TimeZone prints for a numeric setting; POSIX signs, west positive.
    if let Some((label, offset)) = trimmed.strip_prefix('<').and_then(|r| r.split_once('>')) {
        return Some(Zone::Fixed(-parse_offset(offset)?, label.to_owned()));
    }
    if let Some(offset) = parse_offset(trimmed) {
        // POSIX again: `AT TIME ZONE '+05:30'` is west of Greenwich. `SET TimeZone = 5` is another matter: see `timezone_setting`.
        return Some(Zone::Fixed(-offset, String::new()));
    }
    if let Some(offset) = abbreviation(&trimmed.to_ascii_lowercase()) {
        return Some(Zone::Fixed(offset, trimmed.to_ascii_uppercase()));
    }
    // POSIX `XXX+3`: letters, then hours west.
    let split = trimmed.find(|c: char| !c.is_ascii_alphabetic()).filter(|i| *i >= 3)?;
    let (label, offset) = trimmed.split_at(split);
    match parse_offset(offset) {
        Some(seconds) => Some(Zone::Fixed(-seconds, label.to_owned())),
        None => TimeZone::posix(trimmed).ok().map(Zone::Named),
    }
}

/// The zone of a name, an abbreviation or an offset; None if there is none such.
pub fn find_zone(name: &str) -> Option<Zone> {
    RECENT.with_borrow_mut(|recent| {
        if let Some((_, zone)) = recent.iter().find(|(n, _)| n == name) {
            return Some(zone.clone());
        }
        let zone = lookup(name)?;
        if recent.len() == RECENT_MAX {
            recent.remove(0);
        }
        recent.push((name.to_owned(), zone.clone()));
        Some(zone)
    })
}

pub(crate) fn zone_or_error(name: &str) -> Result<Zone> {
    find_zone(name).ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized")))
}

/// 400 years: the period of the calendar, by which instants outside jiff's years are moved inside.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
const MAX_UNIX_SECONDS: i64 = 253_000_000_000;

fn to_jiff(unix_seconds: i64) -> jiff::Timestamp {
    let folded = if unix_seconds.abs() > MAX_UNIX_SECONDS {
        unix_seconds.rem_euclid(CYCLE_SECONDS) + if unix_seconds > 0 { 10 * CYCLE_SECONDS } else { -10 * CYCLE_SECONDS }
    } else {
        unix_seconds
    };
    jiff::Timestamp::from_second(folded).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

impl Zone {
    /// Seconds east of UTC at an instant (microseconds since 2000-01-01 UTC).
    pub fn offset_at(&self, t: i64) -> i32 {
        match self {
            Zone::Fixed(offset, _) => *offset,
            Zone::Named(tz) => tz.to_offset(to_jiff(t.div_euclid(MICROS_PER_SECOND) + UNIX_EPOCH_SECONDS)).seconds(),
        }
    }
    /// The abbreviation in force at an instant; empty for a bare offset.
    pub fn abbreviation_at(&self, t: i64) -> String {
        match self {
            Zone::Fixed(_, name) => name.clone(),
            Zone::Named(tz) => tz.to_offset_info(to_jiff(t.div_euclid(MICROS_PER_SECOND) + UNIX_EPOCH_SECONDS)).abbreviation().to_owned(),
        }
    }
    /// Seconds east of UTC for a local time.
    pub fn offset_for_local(&self, local: i64) -> i32 {
        let Zone::Named(tz) = self else {
            return self.offset_at(local);
        };
        if let Ok(fixed) = tz.to_fixed_offset() {
            return Offset::seconds(fixed);
        }
        // The offsets a day before and a day after bracket any transition.
        let before = self.offset_at(local.saturating_sub(MICROS_PER_DAY));
        let after = self.offset_at(local.saturating_add(MICROS_PER_DAY));
        let valid = |offset: i32| self.offset_at(local - i64::from(offset) * MICROS_PER_SECOND) == offset;
        match (valid(before), valid(after)) {
            (_, true) => after,
            (true, false) => before,
            // Neither: a gap.
            (false, false) => before,
        }
    }
}

/// Local time → instant.
pub fn timestamp_to_timestamptz(t: i64, zone: &str) -> Result<i64> {
    if !is_finite(t) {
        return Ok(t);
    }
    local_to_utc(t, &zone_or_error(zone)?)
}

pub(crate) fn local_to_utc(t: i64, zone: &Zone) -> Result<i64> {
    t.checked_sub(i64::from(zone.offset_for_local(t)) * MICROS_PER_SECOND).ok_or_else(timestamp_range).and_then(check_timestamp)
}

/// Instant → local time.
pub fn timestamptz_to_timestamp(t: i64, zone: &str) -> Result<i64> {
    if !is_finite(t) {
        return Ok(t);
    }
    utc_to_local(t, &zone_or_error(zone)?)
}

pub(crate) fn utc_to_local(t: i64, zone: &Zone) -> Result<i64> {
    t.checked_add(i64::from(zone.offset_at(t)) * MICROS_PER_SECOND).ok_or_else(timestamp_range)
}

/// The session zone's offset now, in seconds *west*, as `timetz` keeps it.
pub fn current_zone_offset(io: &Io<'_>) -> Result<i32> {
    let zone = zone_or_error(&io.session.timezone)?;
    Ok(-zone.offset_at(io.now.unwrap_or(0)))
}

/// The value `SET TimeZone` keeps and shows for what was written: a number is hours east (`5.5` → `<+05:30>-05:30`), `local` and
/// `default` are UTC, a name comes back in the database's own spelling. None if there is no such zone.
pub fn timezone_setting(text: &str) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("local") || trimmed.eq_ignore_ascii_case("default") {
        return Some("UTC".to_owned());
    }
    if let Ok(hours) = trimmed.parse::<f64>() {
        let seconds = (hours * 3600.0) as i64;
        if !hours.is_finite() || seconds.abs() >= 168 * 3600 {
            return None;
        }
        let clock = |sign: char| {
            let (h, m, s) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
            let mut out = format!("{sign}{h:02}");
            if m != 0 || s != 0 {
                out.push_str(&format!(":{m:02}"));
            }
            if s != 0 {
                out.push_str(&format!(":{s:02}"));
            }
            out
        };
        let (east, west) = if seconds < 0 { ('-', '+') } else { ('+', '-') };
        return Some(format!("<{}>{}", clock(east), clock(west)));
    }
    match find_zone(trimmed)? {
        Zone::Named(tz) => Some(tz.iana_name().map_or_else(|| trimmed.to_owned(), str::to_owned)),
        Zone::Fixed(0, name) if !name.is_empty() => Some(name),
        Zone::Fixed(..) => Some(trimmed.to_owned()),
    }
}
