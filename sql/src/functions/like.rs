//! `LIKE`, `ILIKE` and their escape rules. `%` any run, `_` one character, backslash quotes (`like_escape` rewrites others to it).

use super::args::{Entry, bytes, err, s, text};
use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

#[cold]
fn dangling() -> SqlError {
    SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
}

/// Length of the character that starts with this byte; one for plain bytes.
fn width(byte: u8, utf8: bool) -> usize {
    if !utf8 || byte < 0x80 {
        1
    } else if byte < 0xe0 {
        2
    } else if byte < 0xf0 {
        3
    } else {
        4
    }
}

/// Matches with one backtracking point: after a later `%`, an earlier one never needs to be reconsidered.
pub(super) fn matches(subject: &[u8], pattern: &[u8], utf8: bool) -> Result<bool> {
    let (mut i, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'%') => {
                while pattern.get(p) == Some(&b'%') {
                    p += 1;
                }
                if p == pattern.len() {
                    return Ok(true);
                }
                retry = Some((i, p));
                continue;
            }
            Some(b'_') => (i < subject.len()).then(|| (width(subject[i], utf8), 1)),
            Some(b'\\') => {
                let quoted = pattern.get(p + 1).ok_or_else(dangling)?;
                (subject.get(i) == Some(quoted)).then_some((1, 2))
            }
            Some(b) => (subject.get(i) == Some(b)).then_some((1, 1)),
            None if i >= subject.len() => return Ok(true),
            None => None,
        };
        match (step, retry) {
            (Some((di, dp)), _) => {
                i += di;
                p += dp;
            }
            (None, Some((from, at))) if from < subject.len() => {
                i = from + width(subject[from], utf8);
                p = at;
                retry = Some((i, at));
            }
            _ => return Ok(false),
        }
    }
}

/// Case-folding match.
fn matches_folded(subject: &str, pattern: &str) -> Result<bool> {
    matches(subject.to_lowercase().as_bytes(), pattern.to_lowercase().as_bytes(), true)
}

/// The pattern with its escape character replaced by backslash; an empty escape turns quoting off.
///
/// # Errors
/// `22025` for an escape longer than one character.
pub fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let mut chars = escape.chars();
    let (first, more) = (chars.next(), chars.next().is_some());
    if more {
        return Err(
            SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string").hint("Escape string must be empty or one character.")
        );
    }
    let mut out = String::with_capacity(pattern.len());
    match first {
        Some('\\') => out.push_str(pattern),
        None => {
            for c in pattern.chars() {
                if c == '\\' {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        Some(escape) => {
            let mut after_escape = false;
            for c in pattern.chars() {
                if c == escape && !after_escape {
                    out.push('\\');
                    after_escape = true;
                } else {
                    if c == '\\' && !after_escape {
                        out.push('\\');
                    }
                    out.push(c);
                    after_escape = false;
                }
            }
        }
    }
    Ok(out)
}

/// A literal prefix that every match starts with, and whether the pattern is nothing but that prefix (an equality) or that
/// prefix and one final `%` (a range). The planner turns such patterns into index ranges.
pub fn like_prefix(pattern: &str) -> (String, bool) {
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => return (prefix, false),
            '\\' => match chars.next() {
                Some(quoted) => prefix.push(quoted),
                None => return (prefix, false),
            },
            plain => prefix.push(plain),
        }
    }
    (prefix, true)
}

fn like(x: &[Datum]) -> Result<bool> {
    matches(text(&x[0])?.as_bytes(), text(&x[1])?.as_bytes(), true)
}

fn ilike(x: &[Datum]) -> Result<bool> {
    matches_folded(text(&x[0])?, text(&x[1])?)
}

/// The operators `~~`, `!~~`, `~~*`, `!~~*` and their functions.
pub(super) const ENTRIES: &[Entry] = &[
    s("textlike", |_, x| like(x).map(Datum::Bool)),
    s("namelike", |_, x| like(x).map(Datum::Bool)),
    s("textnlike", |_, x| like(x).map(|b| Datum::Bool(!b))),
    s("namenlike", |_, x| like(x).map(|b| Datum::Bool(!b))),
    s("texticlike", |_, x| ilike(x).map(Datum::Bool)),
    s("nameiclike", |_, x| ilike(x).map(Datum::Bool)),
    s("texticnlike", |_, x| ilike(x).map(|b| Datum::Bool(!b))),
    s("nameicnlike", |_, x| ilike(x).map(|b| Datum::Bool(!b))),
    s("bytealike", |_, x| matches(bytes(&x[0])?, bytes(&x[1])?, false).map(Datum::Bool)),
    s("byteanlike", |_, x| matches(bytes(&x[0])?, bytes(&x[1])?, false).map(|b| Datum::Bool(!b))),
    s("like_escape", |_, x| like_escape(text(&x[0])?, text(&x[1])?).map(super::args::txt)),
    s("like_escape_bytea", |_, x| {
        let (pattern, escape) = (bytes(&x[0])?, bytes(&x[1])?);
        if escape.len() > 1 {
            return err(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string");
        }
        // Byte strings travel as Latin-1 text, which keeps every byte one character.
        let latin = |b: &[u8]| b.iter().map(|c| char::from(*c)).collect::<String>();
        let out: Vec<u8> = like_escape(&latin(pattern), &latin(escape))?.chars().map(|c| c as u32 as u8).collect();
        Ok(Datum::Bytea(out.into()))
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, straight from the standard: exponential, obviously right.
    fn naive(s: &[char], p: &[char]) -> bool {
        match p.split_first() {
            None => s.is_empty(),
            Some(('%', rest)) => (0..=s.len()).any(|i| naive(&s[i..], rest)),
            Some(('_', rest)) => !s.is_empty() && naive(&s[1..], rest),
            Some(('\\', rest)) => !s.is_empty() && s[0] == rest[0] && naive(&s[1..], &rest[1..]),
            Some((c, rest)) => s.first() == Some(c) && naive(&s[1..], rest),
        }
    }

    proptest::proptest! {
        #[test]
        fn as_defined(subject in "[abä]{0,8}", pattern in "([abä%_]|\\\\[ab%]){0,6}") {
            let (s, p): (Vec<char>, Vec<char>) = (subject.chars().collect(), pattern.chars().collect());
            proptest::prop_assert_eq!(matches(subject.as_bytes(), pattern.as_bytes(), true).unwrap(), naive(&s, &p));
        }
    }
}
