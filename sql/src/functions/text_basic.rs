//! Everyday strings: length, case, cutting, searching, padding, trimming. All positions count characters from one.

use std::sync::Arc;

use super::args::{Entry, bytes, err, i4, invalid, s, text, txt};
use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

/// Longest string or byte string a function makes: PostgreSQL's 1 GB limit on a value.
pub(super) const MAX_VALUE_BYTES: usize = 0x3fff_ffff;

/// `54000` when a result would be longer than a value may be.
pub(super) fn check_length(len: usize) -> Result<()> {
    if len > MAX_VALUE_BYTES { err(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large") } else { Ok(()) }
}

fn count(s: &str) -> i32 {
    i32::try_from(if s.is_ascii() { s.len() } else { s.chars().count() }).unwrap_or(i32::MAX)
}

fn bits(bytes: usize) -> Result<Datum> {
    i32::try_from(bytes * 8).map(Datum::Int4).map_err(|_| super::args::out_of_range("integer"))
}

/// Byte offset of the n-th character (from zero), or the end.
fn offset(s: &str, n: usize) -> usize {
    if s.is_ascii() { n.min(s.len()) } else { s.char_indices().nth(n).map_or(s.len(), |(i, _)| i) }
}

/// Zero-based half-open bounds of `substring(… from start for length)`.
fn bounds(start: i32, length: Option<i32>) -> Result<(usize, usize)> {
    let end = match length {
        None => i64::from(i32::MAX),
        Some(n) if n < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(n) => i64::from(start) + i64::from(n),
    };
    let from = i64::from(start).max(1) - 1;
    Ok((from as usize, (end - 1).max(from) as usize))
}

/// `substring` on characters.
pub(super) fn substring(s: &str, start: i32, length: Option<i32>) -> Result<Datum> {
    let (from, to) = bounds(start, length)?;
    let a = offset(s, from);
    let b = a + offset(&s[a..], to - from);
    Ok(txt(&s[a..b]))
}

fn byte_substring(b: &[u8], start: i32, length: Option<i32>) -> Result<Datum> {
    let (from, to) = bounds(start, length)?;
    Ok(Datum::Bytea(Arc::from(&b[from.min(b.len())..to.min(b.len())])))
}

/// First position of `needle`, 1-based, 0 if absent.
fn position(hay: &str, needle: &str) -> i32 {
    hay.find(needle).map_or(0, |i| count(&hay[..i]) + 1)
}

/// One character's upper case, if that is one character: as the C library's tables that PostgreSQL asks, 'ß' stays.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    mapped.next().filter(|_| mapped.len() == 0).unwrap_or(c)
}

/// One character's lower case, if that is one character.
fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    mapped.next().filter(|_| mapped.len() == 0).unwrap_or(c)
}

/// The first letter of each word upper, the rest lower; words are runs of alphanumerics.
fn initcap(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut inside = false;
    for c in s.chars() {
        out.push(if inside { lower(c) } else { upper(c) });
        inside = c.is_alphanumeric();
    }
    out
}

fn pad(s: &str, width: i32, fill: &str, left: bool) -> Result<Datum> {
    let width = width.max(0) as usize;
    check_length(width * 4)?;
    let have = count(s) as usize;
    if have >= width {
        return Ok(txt(&s[..offset(s, width)]));
    }
    if fill.is_empty() {
        return Ok(txt(s));
    }
    let padding: String = fill.chars().cycle().take(width - have).collect();
    Ok(txt(if left { padding + s } else { s.to_owned() + &padding }))
}

fn trim<'a>(s: &'a str, set: &str, left: bool, right: bool) -> &'a str {
    let drop = |c: char| set.contains(c);
    let s = if left { s.trim_start_matches(drop) } else { s };
    if right { s.trim_end_matches(drop) } else { s }
}

fn trim_bytes<'a>(mut b: &'a [u8], set: &[u8], left: bool, right: bool) -> &'a [u8] {
    while left
        && let [first, rest @ ..] = b
        && set.contains(first)
    {
        b = rest;
    }
    while right
        && let [rest @ .., last] = b
        && set.contains(last)
    {
        b = rest;
    }
    b
}

fn split_part(s: &str, sep: &str, n: i32) -> Result<Datum> {
    if n == 0 {
        return Err(invalid("field position must not be zero"));
    }
    if s.is_empty() {
        return Ok(txt(""));
    }
    if sep.is_empty() {
        return Ok(txt(if n == 1 || n == -1 { s } else { "" }));
    }
    let index = n.unsigned_abs() as usize - 1;
    // `rsplit` would cut overlapping separators differently: count from the front, as PostgreSQL does.
    let part = if n > 0 {
        s.split(sep).nth(index)
    } else {
        let parts: Vec<&str> = s.split(sep).collect();
        parts.len().checked_sub(index + 1).map(|i| parts[i])
    };
    Ok(txt(part.unwrap_or("")))
}

fn left(s: &str, n: i32) -> Datum {
    let keep = if n >= 0 { n as usize } else { (count(s) as usize).saturating_sub(n.unsigned_abs() as usize) };
    txt(&s[..offset(s, keep)])
}

fn right(s: &str, n: i32) -> Datum {
    let have = count(s) as usize;
    let skip = if n >= 0 { have.saturating_sub(n as usize) } else { n.unsigned_abs() as usize };
    txt(&s[offset(s, skip)..])
}

fn overlay(s: &str, new: &str, start: i32, length: i32) -> Result<Datum> {
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| super::args::out_of_range("integer"))?;
    let head = offset(s, start as usize - 1);
    let tail = offset(s, after.max(1) as usize - 1);
    Ok(txt(format!("{}{new}{}", &s[..head], &s[tail..])))
}

fn byte_overlay(b: &[u8], new: &[u8], start: i32, length: i32) -> Result<Datum> {
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| super::args::out_of_range("integer"))?;
    let head = (start as usize - 1).min(b.len());
    let tail = (after.max(1) as usize - 1).min(b.len());
    Ok(Datum::Bytea([&b[..head], new, &b[tail..]].concat().into()))
}

fn translate(s: &str, from: &str, to: &str) -> String {
    let to: Vec<char> = to.chars().collect();
    s.chars()
        .filter_map(|c| match from.chars().position(|f| f == c) {
            Some(i) => to.get(i).copied(),
            None => Some(c),
        })
        .collect()
}

fn repeat(s: &str, n: i32) -> Result<Datum> {
    let n = n.max(0) as usize;
    check_length(s.len().saturating_mul(n))?;
    Ok(txt(s.repeat(n)))
}

/// `chr(n)`.
fn chr(n: i32) -> Result<Datum> {
    if n == 0 {
        return err(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted");
    }
    if n < 0 {
        return Err(invalid("character number must be positive"));
    }
    match char::from_u32(n as u32) {
        Some(c) => Ok(txt(c.to_string())),
        None if n > 0x0010_ffff => err(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("requested character too large for encoding: {n}")),
        None => err(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("requested character not valid for encoding: {n}")),
    }
}

pub(super) const ENTRIES: &[Entry] = &[
    s("textcat", |_, x| {
        let (a, b) = (text(&x[0])?, text(&x[1])?);
        check_length(a.len() + b.len())?;
        Ok(txt([a, b].concat()))
    }),
    s("byteacat", |_, x| Ok(Datum::Bytea([bytes(&x[0])?, bytes(&x[1])?].concat().into()))),
    s("textlen", |_, x| Ok(Datum::Int4(count(text(&x[0])?)))),
    s("bpcharlen", |_, x| Ok(Datum::Int4(count(text(&x[0])?.trim_end_matches(' '))))),
    s("byteaoctetlen", |_, x| Ok(Datum::Int4(bytes(&x[0])?.len() as i32))),
    s("textoctetlen", |_, x| Ok(Datum::Int4(text(&x[0])?.len() as i32))),
    s("bpcharoctetlen", |_, x| Ok(Datum::Int4(text(&x[0])?.len() as i32))),
    s("bit_length(text)", |_, x| bits(text(&x[0])?.len())),
    s("bit_length(bytea)", |_, x| bits(bytes(&x[0])?.len())),
    s("upper", |_, x| Ok(txt(text(&x[0])?.chars().map(upper).collect::<String>()))),
    s("lower", |_, x| Ok(txt(text(&x[0])?.chars().map(lower).collect::<String>()))),
    s("initcap", |_, x| Ok(txt(initcap(text(&x[0])?)))),
    s("text_substr", |_, x| substring(text(&x[0])?, i4(&x[1])?, Some(i4(&x[2])?))),
    s("text_substr_no_len", |_, x| substring(text(&x[0])?, i4(&x[1])?, None)),
    s("bytea_substr", |_, x| byte_substring(bytes(&x[0])?, i4(&x[1])?, Some(i4(&x[2])?))),
    s("bytea_substr_no_len", |_, x| byte_substring(bytes(&x[0])?, i4(&x[1])?, None)),
    s("textpos", |_, x| Ok(Datum::Int4(position(text(&x[0])?, text(&x[1])?)))),
    s("byteapos", |_, x| {
        let (hay, needle) = (bytes(&x[0])?, bytes(&x[1])?);
        let at = if needle.is_empty() { Some(0) } else { hay.windows(needle.len()).position(|w| w == needle) };
        Ok(Datum::Int4(at.map_or(0, |i| i as i32 + 1)))
    }),
    s("lpad", |_, x| pad(text(&x[0])?, i4(&x[1])?, text(&x[2])?, true)),
    s("rpad", |_, x| pad(text(&x[0])?, i4(&x[1])?, text(&x[2])?, false)),
    s("lpad(text,int4)", |_, x| pad(text(&x[0])?, i4(&x[1])?, " ", true)),
    s("rpad(text,int4)", |_, x| pad(text(&x[0])?, i4(&x[1])?, " ", false)),
    s("btrim", |_, x| Ok(txt(trim(text(&x[0])?, text(&x[1])?, true, true)))),
    s("btrim1", |_, x| Ok(txt(trim(text(&x[0])?, " ", true, true)))),
    s("ltrim", |_, x| Ok(txt(trim(text(&x[0])?, text(&x[1])?, true, false)))),
    s("ltrim1", |_, x| Ok(txt(trim(text(&x[0])?, " ", true, false)))),
    s("rtrim", |_, x| Ok(txt(trim(text(&x[0])?, text(&x[1])?, false, true)))),
    s("rtrim1", |_, x| Ok(txt(trim(text(&x[0])?, " ", false, true)))),
    s("byteatrim", |_, x| Ok(Datum::Bytea(trim_bytes(bytes(&x[0])?, bytes(&x[1])?, true, true).into()))),
    s("bytealtrim", |_, x| Ok(Datum::Bytea(trim_bytes(bytes(&x[0])?, bytes(&x[1])?, true, false).into()))),
    s("byteartrim", |_, x| Ok(Datum::Bytea(trim_bytes(bytes(&x[0])?, bytes(&x[1])?, false, true).into()))),
    s("text_left", |_, x| Ok(left(text(&x[0])?, i4(&x[1])?))),
    s("text_right", |_, x| Ok(right(text(&x[0])?, i4(&x[1])?))),
    s("repeat", |_, x| repeat(text(&x[0])?, i4(&x[1])?)),
    s("replace_text", |_, x| {
        let (a, from, to) = (text(&x[0])?, text(&x[1])?, text(&x[2])?);
        Ok(if from.is_empty() { x[0].clone() } else { txt(a.replace(from, to)) })
    }),
    s("text_reverse", |_, x| Ok(txt(text(&x[0])?.chars().rev().collect::<String>()))),
    s("split_part", |_, x| split_part(text(&x[0])?, text(&x[1])?, i4(&x[2])?)),
    s("ascii", |_, x| Ok(Datum::Int4(text(&x[0])?.chars().next().map_or(0, |c| c as i32)))),
    s("chr", |_, x| chr(i4(&x[0])?)),
    s("translate", |_, x| Ok(txt(translate(text(&x[0])?, text(&x[1])?, text(&x[2])?)))),
    s("text_starts_with", |_, x| Ok(Datum::Bool(text(&x[0])?.starts_with(text(&x[1])?)))),
    s("textoverlay", |_, x| overlay(text(&x[0])?, text(&x[1])?, i4(&x[2])?, i4(&x[3])?)),
    s("textoverlay_no_len", |_, x| overlay(text(&x[0])?, text(&x[1])?, i4(&x[2])?, count(text(&x[1])?))),
    s("byteaoverlay", |_, x| byte_overlay(bytes(&x[0])?, bytes(&x[1])?, i4(&x[2])?, i4(&x[3])?)),
    s("byteaoverlay_no_len", |_, x| byte_overlay(bytes(&x[0])?, bytes(&x[1])?, i4(&x[2])?, bytes(&x[1])?.len() as i32)),
    s("byteaGetByte", |_, x| {
        let (b, n) = (bytes(&x[0])?, i4(&x[1])?);
        match usize::try_from(n).ok().and_then(|i| b.get(i)) {
            Some(v) => Ok(Datum::Int4(i32::from(*v))),
            None => err(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("index {n} out of valid range, 0..{}", b.len() as i64 - 1)),
        }
    }),
    s("byteaSetByte", |_, x| {
        let (b, n) = (bytes(&x[0])?, i4(&x[1])?);
        let mut out = b.to_vec();
        match usize::try_from(n).ok().and_then(|i| out.get_mut(i)) {
            Some(v) => *v = i4(&x[2])? as u8,
            None => return err(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("index {n} out of valid range, 0..{}", b.len() as i64 - 1)),
        }
        Ok(Datum::Bytea(out.into()))
    }),
];
