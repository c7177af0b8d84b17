//! Date templates, writing: `to_char(timestamp | timestamptz | interval, template)`.

use crate::error::{Result, SqlError, SqlState};
use crate::functions::args::{Entry, interval, s, text, timestamp, txt};
use crate::types::Datum;
use crate::types::datetime as dt;

use super::number::ordinal;

/// Template words, longest first where one begins another; matched without regard to case.
pub(super) const WORDS: &[&str] = &[
    "Y,YYY", "SSSSS", "A.D.", "B.C.", "A.M.", "P.M.", "HH24", "HH12", "IYYY", "IDDD", "MONTH", "YYYY", "SSSS", "DAY", "DDD", "FF1", "FF2",
    "FF3", "FF4", "FF5", "FF6", "IYY", "MON", "TZH", "TZM", "YYY", "AD", "BC", "AM", "PM", "CC", "DD", "DY", "FX", "FM", "HH", "ID", "IW",
    "IY", "MI", "MM", "MS", "OF", "RM", "SS", "TM", "TZ", "US", "WW", "YY", "D", "I", "J", "Q", "W", "Y",
];

/// One piece of a template.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// A field: its word as written, whether FM stood before it, and the ordinal suffix (lower case?).
    Field { word: &'static str, written: String, fill: bool, ordinal: Option<bool> },
    /// Anything else; `quoted` text is never a separator.
    Text { c: char, quoted: bool },
}

/// Cuts a template into pieces.
pub(super) fn pieces(template: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut rest = template;
    let mut fill = false;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((i, c)) = chars.next() {
                match c {
                    '"' => {
                        end = i + 1;
                        break;
                    }
                    '\\' => out.extend(chars.next().map(|(_, c)| Piece::Text { c, quoted: true })),
                    c => out.push(Piece::Text { c, quoted: true }),
                }
            }
            rest = &quoted[end..];
            continue;
        }
        if let Some(escaped) = rest.strip_prefix("\\\"") {
            out.push(Piece::Text { c: '"', quoted: true });
            rest = escaped;
            continue;
        }
        let word =
            WORDS.iter().find(|w| rest.is_char_boundary(w.len()) && rest.len() >= w.len() && rest[..w.len()].eq_ignore_ascii_case(w));
        let Some(word) = word else {
            out.push(Piece::Text { c, quoted: false });
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let written = rest[..word.len()].to_owned();
        rest = &rest[word.len()..];
        match *word {
            "FM" => fill = true,
            "FX" | "TM" => {}
            word => {
                let ordinal = rest.get(..2).filter(|s| *s == "TH" || *s == "th").map(|s| s == "th");
                if ordinal.is_some() {
                    rest = &rest[2..];
                }
                out.push(Piece::Field { word, written, fill: std::mem::take(&mut fill), ordinal });
            }
        }
    }
    out
}

pub(super) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// A broken-down moment or interval.
struct Broken {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Days since 2000-01-01; None for an interval.
    days: Option<i64>,
    zone: Option<(i32, String)>,
}

/// A name in the case the word was written in.
fn cased(name: &str, written: &str) -> String {
    let mut letters = written.chars().filter(char::is_ascii_alphabetic);
    match (letters.next().is_some_and(|c| c.is_ascii_uppercase()), letters.next().is_some_and(|c| c.is_ascii_uppercase())) {
        (true, true) => name.to_uppercase(),
        (true, false) => name.to_owned(),
        _ => name.to_lowercase(),
    }
}

/// Zero-padded to a width (one more for a sign), unless FM.
fn padded(v: i64, width: usize, fill: bool) -> String {
    if fill { v.to_string() } else { format!("{v:0w$}", w = if v < 0 { width + 1 } else { width }) }
}

fn blank_padded(name: String, width: usize, fill: bool) -> String {
    if fill { name } else { format!("{name:width$}") }
}

fn field(b: &Broken, word: &str, written: &str, fill: bool) -> Result<String> {
    let needs_date = || {
        b.days.ok_or_else(|| {
            SqlError::new(SqlState::INVALID_DATETIME_FORMAT, "invalid format specification for an interval value")
                .hint("Intervals are not tied to specific calendar dates.")
        })
    };
    // Year 0 is 1 BC; written years count from one on both sides.
    let year = if b.days.is_some() && b.year <= 0 { 1 - b.year } else { b.year };
    let iso = || needs_date().map(dt::iso_week);
    let lower = written.chars().any(|c| c.is_ascii_lowercase());
    let text = |s: &str| if lower { s.to_lowercase() } else { s.to_uppercase() };
    Ok(match word {
        "HH24" => padded(b.hour, 2, fill),
        "HH12" | "HH" => padded(if b.hour % 12 == 0 { 12 } else { b.hour % 12 }, 2, fill),
        "MI" => padded(b.minute, 2, fill),
        "SS" => padded(b.second, 2, fill),
        "SSSS" | "SSSSS" => (b.hour * 3600 + b.minute * 60 + b.second).to_string(),
        "MS" => format!("{:03}", b.micros / 1000),
        "US" | "FF6" => format!("{:06}", b.micros),
        "FF1" => format!("{}", b.micros / 100_000),
        "FF2" => format!("{:02}", b.micros / 10_000),
        "FF3" => format!("{:03}", b.micros / 1000),
        "FF4" => format!("{:04}", b.micros / 100),
        "FF5" => format!("{:05}", b.micros / 10),
        "AM" | "PM" => text(if b.hour % 24 >= 12 { "PM" } else { "AM" }),
        "A.M." | "P.M." => text(if b.hour % 24 >= 12 { "P.M." } else { "A.M." }),
        "AD" | "BC" => {
            needs_date()?;
            text(if b.year <= 0 { "BC" } else { "AD" })
        }
        "A.D." | "B.C." => {
            needs_date()?;
            text(if b.year <= 0 { "B.C." } else { "A.D." })
        }
        "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
        "YYYY" => padded(year, 4, fill),
        "YYY" => padded(year % 1000, 3, fill),
        "YY" => padded(year % 100, 2, fill),
        "Y" => (year % 10).to_string(),
        "IYYY" => padded(iso()?.0.into(), 4, fill),
        "IYY" => padded(i64::from(iso()?.0) % 1000, 3, fill),
        "IY" => padded(i64::from(iso()?.0) % 100, 2, fill),
        "I" => (iso()?.0 % 10).to_string(),
        "IW" => padded(iso()?.1, 2, fill),
        "MONTH" | "MON" => {
            if b.month == 0 {
                return Ok(String::new());
            }
            let name = MONTHS[(b.month - 1).rem_euclid(12) as usize];
            if word == "MON" { cased(&name[..3], written) } else { blank_padded(cased(name, written), 9, fill) }
        }
        "MM" => padded(b.month, 2, fill),
        "DAY" => blank_padded(cased(DAYS[dt::weekday(needs_date()?) as usize], written), 9, fill),
        "DY" => cased(&DAYS[dt::weekday(needs_date()?) as usize][..3], written),
        "DDD" => {
            let v = match b.days {
                Some(days) => days - dt::days_from_civil(b.year as i32, 1, 1) + 1,
                None => b.year * 360 + b.month * 30 + b.day,
            };
            padded(v, 3, fill)
        }
        "IDDD" => {
            let days = needs_date()?;
            let (y, _) = dt::iso_week(days);
            padded(days - dt::iso_week_start(y, 1) + 1, 3, fill)
        }
        "DD" => padded(b.day, 2, fill),
        "D" => (dt::weekday(needs_date()?) + 1).to_string(),
        "ID" => match dt::weekday(needs_date()?) {
            0 => "7".to_owned(),
            d => d.to_string(),
        },
        "WW" => {
            let of_year = needs_date()? - dt::days_from_civil(b.year as i32, 1, 1);
            padded(of_year / 7 + 1, 2, fill)
        }
        "W" => ((b.day - 1) / 7 + 1).to_string(),
        "Q" => {
            if b.month == 0 {
                return Ok(String::new());
            }
            ((b.month - 1) / 3 + 1).to_string()
        }
        "CC" => {
            let century = if b.days.is_none() {
                b.year / 100
            } else if b.year > 0 {
                (b.year - 1) / 100 + 1
            } else {
                b.year / 100 - 1
            };
            padded(century, 2, fill)
        }
        "J" => match b.days {
            Some(days) => (days + i64::from(dt::EPOCH_JULIAN)).to_string(),
            None => (b.day + i64::from(dt::EPOCH_JULIAN)).to_string(),
        },
        "RM" => {
            if b.month == 0 {
                return Ok(String::new());
            }
            blank_padded(text(ROMAN_MONTHS[(b.month - 1).rem_euclid(12) as usize]), 4, fill)
        }
        "TZ" | "TZH" | "TZM" | "OF" => {
            needs_date()?;
            zone(b, word, lower)
        }
        _ => String::new(),
    })
}

fn zone(b: &Broken, word: &str, lower: bool) -> String {
    let (offset, name) = b.zone.clone().unwrap_or((0, String::new()));
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    match word {
        "TZ" if lower => name.to_lowercase(),
        "TZ" => name.to_uppercase(),
        "TZH" => format!("{sign}{hours:02}"),
        "TZM" => format!("{minutes:02}"),
        _ if minutes != 0 => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}"),
    }
}

fn write(b: &Broken, template: &str) -> Result<Datum> {
    let mut out = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Text { c, .. } => out.push(c),
            Piece::Field { word, written, fill, ordinal: th } => {
                let v = field(b, word, &written, fill)?;
                out.push_str(&v);
                if let Some(lower) = th
                    && v.ends_with(|c: char| c.is_ascii_digit())
                {
                    out.push_str(ordinal(&v, lower));
                }
            }
        }
    }
    Ok(txt(out))
}

fn moment(local: i64, zone: Option<(i32, String)>) -> Broken {
    let c = dt::Civil::of(local);
    let (hour, minute, second, micros) = c.clock();
    let (year, month, day) = (i64::from(c.year), i64::from(c.month), i64::from(c.day));
    Broken { year, month, day, hour, minute, second, micros, days: Some(local.div_euclid(dt::MICROS_PER_DAY)), zone }
}

pub(super) const ENTRIES: &[Entry] = &[
    s("timestamp_to_char", |_, x| {
        let (t, template) = (timestamp(&x[0])?, text(&x[1])?);
        if template.is_empty() || !dt::is_finite(t) {
            return Ok(Datum::Null);
        }
        write(&moment(t, None), template)
    }),
    s("timestamptz_to_char", |c, x| {
        let (t, template) = (timestamp(&x[0])?, text(&x[1])?);
        if template.is_empty() || !dt::is_finite(t) {
            return Ok(Datum::Null);
        }
        let local = dt::timestamptz_to_timestamp(t, &c.session.timezone)?;
        let zone = dt::find_zone(&c.session.timezone).map(|z| (z.offset_at(t), z.abbreviation_at(t)));
        write(&moment(local, zone), template)
    }),
    s("interval_to_char", |_, x| {
        let (i, template) = (interval(&x[0])?, text(&x[1])?);
        if template.is_empty() {
            return Ok(Datum::Null);
        }
        let seconds = i.micros / dt::MICROS_PER_SECOND;
        let b = Broken {
            year: i64::from(i.months / 12),
            month: i64::from(i.months % 12),
            day: i64::from(i.days),
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: i.micros % dt::MICROS_PER_SECOND,
            days: None,
            zone: None,
        };
        write(&b, template)
    }),
];
