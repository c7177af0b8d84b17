//! Dates and times cut into tokens by shape, and the words they may have.

use super::format::MONTHS;
use super::zone::abbreviation;

#[derive(Debug)]
pub(super) enum Token {
    Number(String),
    Date(String),
    Time(String),
    Zone(String),
    Word(String),
    /// A sign and a word: `-infinity`.
    Signed(String),
}

/// Words known without a zone table; a letter run before a digit or sign is one of these or part of a zone name.
fn known_word(word: &str) -> bool {
    special(word).is_some() || abbreviation(word).is_some()
}

/// Cuts a text into tokens; None if it has something no date or time can have.
pub(super) fn tokenize(text: &str) -> Option<Vec<Token>> {
    let lower = text.to_ascii_lowercase();
    let b = lower.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    let run = |mut i: usize, keep: &dyn Fn(u8) -> bool| {
        while i < b.len() && keep(b[i]) {
            i += 1;
        }
        i
    };
    let digit = |c: u8| c.is_ascii_digit();
    while i < b.len() {
        let start = i;
        let c = b[i];
        let slice = |end: usize| lower[start..end].to_owned();
        if c.is_ascii_whitespace() {
            i += 1;
        } else if c.is_ascii_digit() {
            i = run(i, &digit);
            match b.get(i).copied() {
                Some(b':') => {
                    i = run(i, &|c| c.is_ascii_digit() || matches!(c, b':' | b'.'));
                    out.push(Token::Time(slice(i)));
                }
                Some(delimiter @ (b'-' | b'/' | b'.')) => {
                    i += 1;
                    let mut date = delimiter != b'.';
                    if b.get(i).is_some_and(u8::is_ascii_digit) {
                        i = run(i, &digit);
                        if b.get(i) == Some(&delimiter) {
                            date = true;
                            i = run(i, &|c| c.is_ascii_digit() || c == delimiter);
                        }
                    } else if b.get(i).is_some_and(u8::is_ascii_alphabetic) {
                        date = true;
                        i = run(i, &|c| c.is_ascii_alphanumeric() || c == delimiter);
                    }
                    out.push(if date { Token::Date(slice(i)) } else { Token::Number(slice(i)) });
                }
                _ => out.push(Token::Number(slice(i))),
            }
        } else if c == b'.' {
            i = run(i + 1, &digit);
            out.push(Token::Number(slice(i)));
        } else if c.is_ascii_alphabetic() {
            i = run(i, &|c| c.is_ascii_alphabetic());
            let compound = match b.get(i) {
                Some(b'-' | b'/' | b'.') => true,
                Some(c) if *c == b'+' || c.is_ascii_digit() => !known_word(&lower[start..i]),
                Some(b'_') => true,
                _ => false,
            };
            if compound {
                i = run(i, &|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'/' | b'_' | b'.' | b':'));
                // Keep the case of zone names for messages.
                let original = text[start..i].to_owned();
                let word = slice(i);
                out.push(if special(&word).is_some() { Token::Word(word) } else { Token::Date(original) });
            } else {
                out.push(Token::Word(slice(i)));
            }
        } else if matches!(c, b'+' | b'-') {
            i = run(i + 1, &|c| c.is_ascii_whitespace());
            let sign = c as char;
            let body = i;
            if b.get(i).is_some_and(u8::is_ascii_digit) {
                i = run(i, &|c| c.is_ascii_digit() || matches!(c, b':' | b'.' | b'-'));
                out.push(Token::Zone(format!("{sign}{}", &lower[body..i])));
            } else if b.get(i).is_some_and(u8::is_ascii_alphabetic) {
                i = run(i, &|c| c.is_ascii_alphabetic());
                out.push(Token::Signed(format!("{sign}{}", &lower[body..i])));
            } else {
                return None;
            }
        } else if c.is_ascii_punctuation() {
            i += 1;
        } else {
            return None;
        }
        if out.len() > 25 {
            return None;
        }
    }
    Some(out)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Special {
    Now,
    Today,
    Tomorrow,
    Yesterday,
    Epoch,
    Infinity,
    NegInfinity,
    AllBalls,
    Month(u32),
    Weekday,
    Am,
    Pm,
    Ad,
    Bc,
    /// `T` between date and time; `at`, `on` and the like.
    Ignore,
    Julian,
}

/// The meaning of a word.
pub(super) fn special(word: &str) -> Option<Special> {
    let months = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
    let found = match word {
        "now" => Special::Now,
        "today" => Special::Today,
        "tomorrow" => Special::Tomorrow,
        "yesterday" => Special::Yesterday,
        "epoch" => Special::Epoch,
        "infinity" | "inf" => Special::Infinity,
        "-infinity" | "-inf" => Special::NegInfinity,
        "+infinity" | "+inf" => Special::Infinity,
        "allballs" => Special::AllBalls,
        "am" | "a.m." => Special::Am,
        "pm" | "p.m." => Special::Pm,
        "ad" | "a.d." => Special::Ad,
        "bc" | "b.c." => Special::Bc,
        "t" | "at" | "on" => Special::Ignore,
        "j" | "jd" | "julian" => Special::Julian,
        "sept" => Special::Month(9),
        "sun" | "sunday" | "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "weds" | "wednesday" | "thu" | "thur" | "thurs"
        | "thursday" | "fri" | "friday" | "sat" | "saturday" => Special::Weekday,
        _ => {
            let by_short = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(word));
            return by_short.or_else(|| months.iter().position(|m| *m == word)).map(|i| Special::Month(i as u32 + 1));
        }
    };
    Some(found)
}
