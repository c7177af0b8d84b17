//! Strings beyond the everyday: quoting, `concat`, `format`, encodings, digests, normalisation.

use sha2::Digest;
use unicode_normalization::UnicodeNormalization;

use super::args::{Entry, array, boolean, bytes, err, i4, i8, invalid, one_dimension, s, text, txt};
use super::{EvalContext, FunctionBody, TypedFn};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, Datum, to_text};

/// A typed entry.
pub(super) const fn t(key: &'static str, body: TypedFn) -> Entry {
    (key, FunctionBody::Typed(body))
}

/// PostgreSQL 15's key words that an identifier must be quoted to be.
const QUOTED_KEYWORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char character check coalesce collate collation column concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary real references returning right row select session_user setof similar smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

/// `quote_ident`: as it is where it may be, in double quotes where it must be.
pub fn quote_ident(name: &str) -> String {
    let plain = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !QUOTED_KEYWORDS.contains(&format!(" {name} "));
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// `quote_literal`: in single quotes, as an escape string if there is a backslash.
pub fn quote_literal(value: &str) -> String {
    let body = value.replace('\'', "''");
    if body.contains('\\') { format!("E'{}'", body.replace('\\', "\\\\")) } else { format!("'{body}'") }
}

/// The value as its output function prints it.
pub(super) fn output(ctx: &EvalContext<'_>, ty: DataType, d: &Datum) -> String {
    to_text(d, ty, ctx)
}

/// The value as a cast to `text` gives it: as output, but booleans in full and `bpchar` without its blanks.
fn cast_to_text(ctx: &EvalContext<'_>, ty: DataType, d: &Datum) -> String {
    match (d, ty) {
        (Datum::Bool(b), _) => b.to_string(),
        (Datum::Text(s), DataType::BPCHAR) => s.trim_end_matches(' ').to_owned(),
        _ => output(ctx, ty, d),
    }
}

fn type_at(types: &[DataType], i: usize) -> DataType {
    types.get(i).copied().unwrap_or(DataType::TEXT)
}

/// The values of a `VARIADIC "any"` list, the array of an explicit `VARIADIC` spread out.
fn concat_items(ctx: &EvalContext<'_>, types: &[DataType], x: &[Datum], from: usize) -> Vec<Option<String>> {
    x.iter()
        .enumerate()
        .skip(from)
        .map(|(i, d)| if matches!(d, Datum::Null) { None } else { Some(output(ctx, type_at(types, i), d)) })
        .collect()
}

/// `format(…)`.
fn format(ctx: &EvalContext<'_>, types: &[DataType], x: &[Datum]) -> Result<Datum> {
    if matches!(x[0], Datum::Null) {
        return Ok(Datum::Null);
    }
    let pattern = text(&x[0])?;
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut next = 1usize;
    let unterminated = || invalid("unterminated format() type specifier").hint("For a single \"%\" use \"%%\".");
    let argument = |n: usize| if n < x.len() { Ok(n) } else { Err(invalid("too few arguments for format()")) };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<usize>> {
            let mut n: Option<usize> = None;
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                chars.next();
                let v = n.unwrap_or(0) * 10 + d as usize;
                if v > i32::MAX as usize {
                    return err(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "number is out of range");
                }
                n = Some(v);
            }
            Ok(n)
        };
        let (mut position, mut width, mut left) = (None, 0i64, false);
        let first = number(&mut chars)?;
        let mut width_done = false;
        match (first, chars.peek()) {
            (Some(0), Some('$')) => return Err(invalid("format specifies argument 0, but arguments are numbered from 1")),
            (Some(n), Some('$')) => {
                chars.next();
                position = Some(n);
            }
            (Some(n), _) => {
                width = n as i64;
                width_done = true;
            }
            _ => {}
        }
        if !width_done {
            while chars.peek() == Some(&'-') {
                chars.next();
                left = true;
            }
            if chars.peek() == Some(&'*') {
                chars.next();
                let at = match number(&mut chars)? {
                    Some(n) => {
                        if chars.next() != Some('$') {
                            return Err(invalid("width argument position must be ended by \"$\""));
                        }
                        argument(n)?
                    }
                    None => {
                        next += 1;
                        argument(next - 1)?
                    }
                };
                width = match &x[at] {
                    Datum::Null => 0,
                    d @ (Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_)) => i8(d)?,
                    d => crate::types::text_io::parse_integer(&output(ctx, type_at(types, at), d), "integer")?,
                };
                if width < 0 {
                    left = true;
                    width = -width;
                }
            } else if let Some(n) = number(&mut chars)? {
                width = n as i64;
            }
        }
        let kind = chars.next().ok_or_else(unterminated)?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(invalid(format!("unrecognized format() type specifier \"{kind}\"")).hint("For a single \"%\" use \"%%\"."));
        }
        let at = match position {
            Some(n) => {
                next = n + 1;
                argument(n)?
            }
            None => {
                next += 1;
                argument(next - 1)?
            }
        };
        let value = &x[at];
        let piece = match (kind, value) {
            ('s', Datum::Null) => String::new(),
            ('L', Datum::Null) => "NULL".to_owned(),
            ('I', Datum::Null) => return err(SqlState::NULL_VALUE_NOT_ALLOWED, "null values cannot be formatted as an SQL identifier"),
            ('I', v) => quote_ident(&output(ctx, type_at(types, at), v)),
            ('L', v) => quote_literal(&output(ctx, type_at(types, at), v)),
            (_, v) => output(ctx, type_at(types, at), v),
        };
        let missing = (width - piece.chars().count() as i64).max(0) as usize;
        super::text_basic::check_length(out.len() + missing)?;
        let blanks = std::iter::repeat_n(' ', missing);
        if left {
            out.push_str(&piece);
            out.extend(blanks);
        } else {
            out.extend(blanks);
            out.push_str(&piece);
        }
    }
    Ok(txt(out))
}

fn hex(b: &[u8]) -> String {
    b.iter().map(|v| format!("{v:02x}")).collect()
}

fn encode(b: &[u8], how: &str) -> Result<Datum> {
    Ok(txt(match how.to_ascii_lowercase().as_str() {
        "hex" => hex(b),
        "base64" => {
            use base64::Engine;
            // Lines of 76 characters, as in MIME.
            let all = base64::engine::general_purpose::STANDARD.encode(b);
            all.as_bytes().chunks(76).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n")
        }
        "escape" => {
            let mut out = String::new();
            for &v in b {
                match v {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => out.push_str(&format!("\\{v:03o}")),
                    _ => out.push(v as char),
                }
            }
            out
        }
        _ => return Err(invalid(format!("unrecognized encoding: \"{how}\""))),
    }))
}

fn decode(s: &str, how: &str) -> Result<Datum> {
    let out = match how.to_ascii_lowercase().as_str() {
        "hex" => {
            let mut digits = Vec::with_capacity(s.len());
            for c in s.chars().filter(|c| !matches!(c, ' ' | '\n' | '\t' | '\r')) {
                digits.push(c.to_digit(16).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")))? as u8);
            }
            if digits.len() % 2 == 1 {
                return Err(invalid("invalid hexadecimal data: odd number of digits"));
            }
            digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect()
        }
        "base64" => base64_decode(s)?,
        "escape" => crate::types::bytes::parse_bytea(&s.replacen("\\x", "\\\\x", usize::from(s.starts_with("\\x"))))?,
        _ => return Err(invalid(format!("unrecognized encoding: \"{how}\""))),
    };
    Ok(Datum::Bytea(out.into()))
}

fn base64_decode(s: &str) -> Result<Vec<u8>> {
    let (mut out, mut buffer, mut have, mut padding) = (Vec::with_capacity(s.len() * 3 / 4), 0u32, 0, 0);
    for c in s.chars() {
        let v = match c {
            ' ' | '\n' | '\t' | '\r' => continue,
            'A'..='Z' => c as u32 - 65,
            'a'..='z' => c as u32 - 71,
            '0'..='9' => c as u32 + 4,
            '+' => 62,
            '/' => 63,
            '=' => {
                if padding == 0 && have < 2 {
                    return Err(invalid("unexpected \"=\" while decoding base64 sequence"));
                }
                padding += 1;
                0
            }
            _ => return Err(invalid(format!("invalid symbol \"{c}\" found while decoding base64 sequence"))),
        };
        buffer = buffer << 6 | v;
        have += 1;
        if have == 4 {
            out.push((buffer >> 16) as u8);
            if padding < 2 {
                out.push((buffer >> 8) as u8);
            }
            if padding == 0 {
                out.push(buffer as u8);
            }
            (buffer, have) = (0, 0);
        }
    }
    if have != 0 {
        return Err(invalid("invalid base64 end sequence").hint("Input data is missing padding, is truncated, or is otherwise corrupted."));
    }
    Ok(out)
}

fn normalize(s: &str, form: &str) -> Result<String> {
    Ok(match form.to_ascii_uppercase().as_str() {
        "NFC" => s.nfc().collect(),
        "NFD" => s.nfd().collect(),
        "NFKC" => s.nfkc().collect(),
        "NFKD" => s.nfkd().collect(),
        _ => return Err(invalid(format!("invalid normalization form: {form}"))),
    })
}

/// `unistr`: `\XXXX`, `\+XXXXXX`, `\uXXXX`, `\UXXXXXXXX`, surrogate pairs.
fn unistr(s: &str) -> Result<String> {
    let bad = || {
        SqlError::new(SqlState::SYNTAX_ERROR, "invalid Unicode escape")
            .hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.")
    };
    let pair = || SqlError::new(SqlState::SYNTAX_ERROR, "invalid Unicode surrogate pair");
    let mut out = String::new();
    let mut rest = s;
    let mut high: Option<u32> = None;
    while let Some(c) = rest.chars().next() {
        if c != '\\' {
            if high.is_some() {
                return Err(pair());
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let tail = &rest[1..];
        if let Some(after) = tail.strip_prefix('\\') {
            if high.is_some() {
                return Err(pair());
            }
            out.push('\\');
            rest = after;
            continue;
        }
        let (digits, skip) = match tail.as_bytes().first() {
            Some(b'+') => (6, 1),
            Some(b'u') => (4, 1),
            Some(b'U') => (8, 1),
            _ => (4, 0),
        };
        let hex = tail.get(skip..skip + digits).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit())).ok_or_else(bad)?;
        let code = u32::from_str_radix(hex, 16).map_err(|_| bad())?;
        rest = &tail[skip + digits..];
        match (high.take(), code) {
            (None, 0xd800..=0xdbff) => high = Some(code),
            (None, 0xdc00..=0xdfff) => return Err(pair()),
            (Some(h), 0xdc00..=0xdfff) => {
                out.push(char::from_u32(0x10000 + ((h & 0x3ff) << 10 | (code & 0x3ff))).ok_or_else(pair)?);
            }
            (Some(_), _) => return Err(pair()),
            (None, 0) => return Err(bad()),
            (None, c) => out.push(
                char::from_u32(c)
                    .ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "invalid Unicode code point").detail(format!("{c:X}")))?,
            ),
        }
    }
    if high.is_some() { Err(pair()) } else { Ok(out) }
}

fn bit_place(b: &[u8], n: i64) -> Result<(usize, u32)> {
    let bits = b.len() as i64 * 8;
    if n < 0 || n >= bits {
        return err(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("index {n} out of valid range, 0..{}", bits - 1));
    }
    Ok(((n / 8) as usize, (n % 8) as u32))
}

fn encoding_is_utf8(name: &str) -> bool {
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    folded == "utf8" || folded == "unicode"
}

fn nulls(x: &[Datum], count_nulls: bool) -> Result<Datum> {
    // An explicit VARIADIC array counts its elements.
    let all = match x {
        [Datum::Array(a)] => &a.elements[..],
        _ => x,
    };
    let n = all.iter().filter(|d| matches!(d, Datum::Null) == count_nulls).count();
    Ok(Datum::Int4(n as i32))
}

pub(super) const ENTRIES: &[Entry] = &[
    s("quote_ident", |_, x| Ok(txt(quote_ident(text(&x[0])?)))),
    s("quote_literal", |_, x| Ok(txt(quote_literal(text(&x[0])?)))),
    s("quote_nullable", |_, x| Ok(if let Datum::Null = x[0] { txt("NULL") } else { txt(quote_literal(text(&x[0])?)) })),
    t("quote_literal(anyelement)", |c, ty, x| Ok(txt(quote_literal(&cast_to_text(c, type_at(ty, 0), &x[0]))))),
    t("quote_nullable(anyelement)", |c, ty, x| {
        Ok(if let Datum::Null = x[0] { txt("NULL") } else { txt(quote_literal(&cast_to_text(c, type_at(ty, 0), &x[0]))) })
    }),
    t("textanycat(text,anynonarray)", |c, ty, x| Ok(txt(text(&x[0])?.to_owned() + &cast_to_text(c, type_at(ty, 1), &x[1])))),
    t("anytextcat(anynonarray,text)", |c, ty, x| Ok(txt(cast_to_text(c, type_at(ty, 0), &x[0]) + text(&x[1])?))),
    t("text_concat", |c, ty, x| Ok(txt(concat_items(c, ty, x, 0).into_iter().flatten().collect::<String>()))),
    t("text_concat_ws", |c, ty, x| {
        if let Datum::Null = x[0] {
            return Ok(Datum::Null);
        }
        Ok(txt(concat_items(c, ty, x, 1).into_iter().flatten().collect::<Vec<_>>().join(text(&x[0])?)))
    }),
    t("text_format", |c, ty, x| format(c, ty, x)),
    t("text_format_nv", |c, ty, x| format(c, ty, x)),
    s("pg_num_nulls", |_, x| nulls(x, true)),
    s("pg_num_nonnulls", |_, x| nulls(x, false)),
    s("binary_encode", |_, x| encode(bytes(&x[0])?, text(&x[1])?)),
    s("binary_decode", |_, x| decode(text(&x[0])?, text(&x[1])?)),
    s("md5_text", |_, x| Ok(txt(format!("{:x}", md5::compute(text(&x[0])?))))),
    s("md5_bytea", |_, x| Ok(txt(format!("{:x}", md5::compute(bytes(&x[0])?))))),
    s("sha224_bytea", |_, x| Ok(Datum::Bytea(sha2::Sha224::digest(bytes(&x[0])?).as_slice().into()))),
    s("sha256_bytea", |_, x| Ok(Datum::Bytea(sha2::Sha256::digest(bytes(&x[0])?).as_slice().into()))),
    s("sha384_bytea", |_, x| Ok(Datum::Bytea(sha2::Sha384::digest(bytes(&x[0])?).as_slice().into()))),
    s("sha512_bytea", |_, x| Ok(Datum::Bytea(sha2::Sha512::digest(bytes(&x[0])?).as_slice().into()))),
    s("unicode_normalize_func", |_, x| normalize(text(&x[0])?, x.get(1).map_or(Ok("NFC"), text)?).map(txt)),
    s("unicode_is_normalized", |_, x| Ok(Datum::Bool(normalize(text(&x[0])?, x.get(1).map_or(Ok("NFC"), text)?)? == text(&x[0])?))),
    s("unistr", |_, x| unistr(text(&x[0])?).map(txt)),
    s("bytea_bit_count", |_, x| Ok(Datum::Int8(bytes(&x[0])?.iter().map(|b| i64::from(b.count_ones())).sum()))),
    s("byteaGetBit", |_, x| {
        let (byte, bit) = bit_place(bytes(&x[0])?, i8(&x[1])?)?;
        Ok(Datum::Int4(i32::from(bytes(&x[0])?[byte] >> bit & 1)))
    }),
    s("byteaSetBit", |_, x| {
        let (byte, bit) = bit_place(bytes(&x[0])?, i8(&x[1])?)?;
        let mut out = bytes(&x[0])?.to_vec();
        match i4(&x[2])? {
            0 => out[byte] &= !(1 << bit),
            1 => out[byte] |= 1 << bit,
            _ => return Err(invalid("new bit must be 0 or 1")),
        }
        Ok(Datum::Bytea(out.into()))
    }),
    s("pg_convert_from", |_, x| {
        if !encoding_is_utf8(text(&x[1])?) {
            return Err(SqlError::unsupported(format!("conversion from encoding {}", text(&x[1])?)));
        }
        let b = bytes(&x[0])?;
        match std::str::from_utf8(b) {
            Ok(v) => Ok(txt(v)),
            Err(e) => {
                let bad: Vec<String> = b[e.valid_up_to()..].iter().take(e.error_len().unwrap_or(1)).map(|v| format!("0x{v:02x}")).collect();
                err(SqlState::CHARACTER_NOT_IN_REPERTOIRE, format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")))
            }
        }
    }),
    s("pg_convert_to", |_, x| {
        if !encoding_is_utf8(text(&x[1])?) {
            return Err(SqlError::unsupported(format!("conversion to encoding {}", text(&x[1])?)));
        }
        Ok(Datum::Bytea(text(&x[0])?.as_bytes().into()))
    }),
    s("parse_ident", |_, x| parse_ident(text(&x[0])?, x.get(1).map_or(Ok(true), boolean)?)),
    s("array_to_text", |c, x| join(c, x)),
    s("array_to_text_null", |c, x| join(c, x)),
    s("text_to_array", |_, x| Ok(split(x)?.map_or(Datum::Null, |v| one_dimension(DataType::TEXT, v)))),
    s("text_to_array_null", |_, x| Ok(split(x)?.map_or(Datum::Null, |v| one_dimension(DataType::TEXT, v)))),
];

/// `array_to_string`: NULL elements are left out, or shown as the third argument.
fn join(ctx: &EvalContext<'_>, x: &[Datum]) -> Result<Datum> {
    if matches!(x[0], Datum::Null) || matches!(x[1], Datum::Null) {
        return Ok(Datum::Null);
    }
    let a = array(&x[0])?;
    let null = super::args::opt(x, 2).map(text).transpose()?;
    let items: Vec<String> = a
        .elements
        .iter()
        .filter_map(|d| if matches!(d, Datum::Null) { null.map(str::to_owned) } else { Some(output(ctx, a.element, d)) })
        .collect();
    Ok(txt(items.join(text(&x[1])?)))
}

/// `string_to_array` and `string_to_table`; None for a NULL string.
pub(super) fn split(x: &[Datum]) -> Result<Option<Vec<Datum>>> {
    if matches!(x[0], Datum::Null) {
        return Ok(None);
    }
    let value = text(&x[0])?;
    let null = super::args::opt(x, 2).map(text).transpose()?;
    let item = |v: &str| if null == Some(v) { Datum::Null } else { txt(v) };
    if value.is_empty() {
        return Ok(Some(vec![]));
    }
    Ok(Some(match &x[1] {
        Datum::Null => value.chars().map(|c| item(c.encode_utf8(&mut [0; 4]))).collect(),
        sep => match text(sep)? {
            "" => vec![item(value)],
            sep => value.split(sep).map(item).collect(),
        },
    }))
}

fn parse_ident(s: &str, strict: bool) -> Result<Datum> {
    let bad = |detail: Option<String>| {
        let e = invalid(format!("string is not a valid identifier: \"{s}\""));
        detail.map_or(e.clone(), |d| e.detail(d))
    };
    let mut parts: Vec<String> = Vec::new();
    let mut rest = s.trim_start();
    loop {
        if let Some(inner) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = inner.char_indices().peekable();
            let mut end = None;
            while let Some((i, c)) = chars.next() {
                if c == '"' {
                    if chars.peek().is_some_and(|p| p.1 == '"') {
                        chars.next();
                    } else {
                        end = Some(i + 1);
                        break;
                    }
                }
                name.push(c);
            }
            let end = end.ok_or_else(|| bad(Some("String has unclosed double quotes.".into())))?;
            if name.is_empty() {
                return Err(bad(Some("Quoted identifier must not be empty.".into())));
            }
            parts.push(name);
            rest = &inner[end..];
        } else {
            let start = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
            let end = rest.find(|c: char| !(start(c) || c.is_ascii_digit() || c == '$')).unwrap_or(rest.len());
            if end == 0 || !rest.starts_with(start) {
                return Err(match (parts.is_empty(), rest.chars().next()) {
                    (false, _) => bad(Some("No valid identifier after \".\".".into())),
                    (true, Some('.')) => bad(Some("No valid identifier before \".\".".into())),
                    _ => bad(None),
                });
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() || !strict => return Ok(super::args::text_array(parts)),
            None => return Err(bad(None)),
        }
    }
}
