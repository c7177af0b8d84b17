//! `bytea` and `uuid` as text.

use crate::error::{Result, SqlError, SqlState};

const HEX: &[u8; 16] = b"0123456789abcdef";

fn nibble(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

/// Appends a `bytea`, in hex (`\x…`) or the old escape form.
pub fn write_bytea(out: &mut String, bytes: &[u8], escape: bool) {
    if !escape {
        out.reserve(2 + bytes.len() * 2);
        out.push_str("\\x");
        for b in bytes {
            out.push(HEX[usize::from(b >> 4)] as char);
            out.push(HEX[usize::from(b & 15)] as char);
        }
        return;
    }
    for &b in bytes {
        match b {
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(b as char),
            _ => {
                out.push('\\');
                for shift in [6, 3, 0] {
                    out.push((b'0' + ((b >> shift) & 7)) as char);
                }
            }
        }
    }
}

/// Reads a `bytea` in either form.
pub fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return parse_hex(hex);
    }
    let bad = || SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'\\' {
            out.push(bytes[i]);
            i += 1;
        } else if bytes.get(i + 1) == Some(&b'\\') {
            out.push(b'\\');
            i += 2;
        } else if let Some(&[a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7']) = bytes.get(i + 1..i + 4) {
            out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            i += 4;
        } else {
            return Err(bad());
        }
    }
    Ok(out)
}

/// Hex digits, with white space allowed between pairs (`decode(…, 'hex')` and `bytea` input).
pub fn parse_hex(hex: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut chars = hex.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        if c.is_ascii_whitespace() {
            continue;
        }
        let digit =
            |c: char| c.is_ascii().then(|| nibble(c as u8)).flatten().ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")));
        let high = digit(c)?;
        let Some((_, low)) = chars.next() else {
            return Err(invalid("invalid hexadecimal data: odd number of digits".into()));
        };
        out.push((high << 4) | digit(low)?);
    }
    Ok(out)
}

/// Appends a `uuid`.
pub fn write_uuid(out: &mut String, uuid: &[u8; 16]) {
    for (i, b) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push(HEX[usize::from(b >> 4)] as char);
        out.push(HEX[usize::from(b & 15)] as char);
    }
}

/// Reads a `uuid`: upper or lower case, hyphens after any group of four digits, braces allowed.
pub fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let bad = || SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type uuid: \"{text}\""));
    let bytes = text.as_bytes();
    let inner = match bytes {
        [b'{', inner @ .., b'}'] => inner,
        _ => bytes,
    };
    let mut out = [0u8; 16];
    let mut at = 0;
    for (i, slot) in out.iter_mut().enumerate() {
        let pair = inner.get(at..at + 2).ok_or_else(bad)?;
        *slot = (nibble(pair[0]).ok_or_else(bad)? << 4) | nibble(pair[1]).ok_or_else(bad)?;
        at += 2;
        if i % 2 == 1 && i < 15 && inner.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    if at == inner.len() { Ok(out) } else { Err(bad()) }
}
