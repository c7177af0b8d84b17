//! COPY's text and CSV formats, as pure functions over bytes (PostgreSQL manual, COPY, "File Formats").

use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::CopyColumns;
use crate::front::{CopyFormat, CopyOptions};

/// Longest single record, in bytes.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// COPY options with their defaults filled in and checked.
#[derive(Clone, Debug)]
pub struct Style {
    /// CSV instead of text.
    pub csv: bool,
    /// Binary (see [`super::copy_binary`]): the other options do not apply.
    pub binary: bool,
    delimiter: u8,
    null: String,
    /// A header line is read or written.
    pub header: bool,
    /// The header must name the columns.
    pub header_match: bool,
    quote: u8,
    escape: u8,
    /// Columns that are always quoted, never NULL when unquoted, NULL even when quoted: as given, resolved by [`Style::resolve`].
    forced: [Option<CopyColumns>; 3],
    force: [Vec<bool>; 3],
}

const FORCE: [&str; 3] = ["FORCE_QUOTE", "FORCE_NOT_NULL", "FORCE_NULL"];

fn one_byte(option: &str, value: Option<&str>, default: u8) -> Result<u8> {
    match value.map(str::as_bytes) {
        None => Ok(default),
        Some([byte]) => Ok(*byte),
        Some(_) => Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("COPY {option} must be a single one-byte character"))),
    }
}

impl Style {
    /// Resolves options.
    pub fn new(options: &CopyOptions) -> Result<Self> {
        let invalid = |message: &str| SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
        let csv = match options.format {
            CopyFormat::Text | CopyFormat::Binary => false,
            CopyFormat::Csv => true,
        };
        let binary = options.format == CopyFormat::Binary;
        let syntax = |message: &str| SqlError::new(SqlState::SYNTAX_ERROR, message);
        if binary && options.delimiter.is_some() {
            return Err(syntax("cannot specify DELIMITER in BINARY mode"));
        }
        if binary && options.null.is_some() {
            return Err(syntax("cannot specify NULL in BINARY mode"));
        }
        if binary && options.header {
            return Err(invalid("cannot specify HEADER in BINARY mode"));
        }
        if !csv && (options.quote.is_some() || options.escape.is_some()) {
            let what = if options.quote.is_some() { "quote" } else { "escape" };
            return Err(invalid(&format!("COPY {what} available only in CSV mode")));
        }
        let forced = [options.force_quote.clone(), options.force_not_null.clone(), options.force_null.clone()];
        if !csv && let Some(at) = forced.iter().position(Option::is_some) {
            let what = ["force quote", "force not null", "force null"][at];
            return Err(invalid(&format!("COPY {what} available only in CSV mode")));
        }
        if let Some(encoding) = &options.encoding
            && !matches!(encoding.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode")
        {
            return Err(SqlError::unsupported(format!("COPY ENCODING \"{encoding}\"")));
        }
        let delimiter = one_byte("delimiter", options.delimiter.as_deref(), if csv { b',' } else { b'\t' })?;
        let quote = one_byte("quote", options.quote.as_deref(), b'"')?;
        let escape = one_byte("escape", options.escape.as_deref(), quote)?;
        let null = options.null.clone().unwrap_or_else(|| if csv { String::new() } else { "\\N".into() });
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "COPY delimiter cannot be newline or carriage return"));
        }
        if null.contains(['\r', '\n']) {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "COPY null representation cannot use newline or carriage return"));
        }
        if !csv && (delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit() || matches!(delimiter, b'\\' | b'.')) {
            let message = format!("COPY delimiter cannot be \"{}\"", char::from(delimiter));
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        if csv && delimiter == quote {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "COPY delimiter and quote must be different"));
        }
        Ok(Style {
            csv,
            binary,
            delimiter,
            null,
            header: options.header,
            header_match: options.header_match,
            quote,
            escape,
            forced,
            force: Default::default(),
        })
    }

    /// Finds the columns of FORCE_QUOTE, FORCE_NOT_NULL and FORCE_NULL among those copied.
    pub fn resolve(&mut self, columns: &[&str], from: bool) -> Result<()> {
        for (at, forced) in self.forced.iter().enumerate() {
            let Some(forced) = forced else { continue };
            let what = ["force quote", "force not null", "force null"][at];
            if from != (at > 0) {
                let side = if at > 0 { "COPY FROM" } else { "COPY TO" };
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("COPY {what} only available using {side}")));
            }
            let mut set = vec![matches!(forced, CopyColumns::All); columns.len()];
            if let CopyColumns::List(names) = forced {
                for name in names {
                    let Some(n) = columns.iter().position(|c| c == name) else {
                        let message = format!("{} column \"{name}\" not referenced by COPY", FORCE[at]);
                        return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                    };
                    set[n] = true;
                }
            }
            self.force[at] = set;
        }
        Ok(())
    }

    fn forces(&self, what: usize, column: usize) -> bool {
        self.force[what].get(column).copied().unwrap_or(false)
    }

    /// Appends one record. `None` is NULL.
    pub fn write(&self, fields: &[Option<&str>], out: &mut Vec<u8>) {
        for (n, field) in fields.iter().enumerate() {
            if n > 0 {
                out.push(self.delimiter);
            }
            match field {
                None => out.extend_from_slice(self.null.as_bytes()),
                Some(text) if self.csv => self.write_csv(text, fields.len() == 1, self.forces(0, n), out),
                Some(text) => self.write_text(text, out),
            }
        }
        out.push(b'\n');
    }

    fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        for byte in text.bytes() {
            let short = match byte {
                b'\\' => Some(b'\\'),
                8 => Some(b'b'),
                12 => Some(b'f'),
                b'\n' => Some(b'n'),
                b'\r' => Some(b'r'),
                b'\t' => Some(b't'),
                11 => Some(b'v'),
                b if b == self.delimiter => Some(b),
                _ => None,
            };
            match short {
                Some(letter) => out.extend_from_slice(&[b'\\', letter]),
                None => out.push(byte),
            }
        }
    }

    /// Appends the header line: names are not quoted by force.
    pub fn write_header(&self, names: &[Option<&str>], out: &mut Vec<u8>) {
        Style { force: Default::default(), ..self.clone() }.write(names, out);
    }

    fn write_csv(&self, text: &str, alone: bool, force: bool, out: &mut Vec<u8>) {
        let special = |b: u8| b == self.delimiter || b == self.quote || b == b'\n' || b == b'\r';
        let plain = text != self.null && !text.bytes().any(special);
        if !force && plain && (!alone || text != "\\.") {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(self.quote);
        for byte in text.bytes() {
            if byte == self.quote || byte == self.escape {
                out.push(self.escape);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }
}

/// Cuts records out of a stream of chunks.
#[derive(Debug)]
pub struct Reader {
    style: Style,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
    /// Records read so far, from 1: "line" in messages.
    pub line: u64,
    /// Where the last record's text stands in `buffer`.
    record: std::ops::Range<usize>,
}

/// One record's fields; `None` is NULL.
pub type Record = Vec<Option<String>>;

impl Reader {
    /// A reader of records in `style`.
    pub fn new(style: Style) -> Self {
        Reader { style, buffer: vec![], at: 0, ended: false, line: 0, record: 0..0 }
    }

    /// The text of the last record, cut as PostgreSQL cuts it in messages.
    pub fn text(&self) -> String {
        shortened(&String::from_utf8_lossy(self.buffer.get(self.record.clone()).unwrap_or(&[])))
    }

    /// More input.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() + chunk.len() > MAX_RECORD_BYTES {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("a COPY record is longer than {MAX_RECORD_BYTES} bytes")));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole record; `None`: feed more, or (after `last`) the end.
    pub fn next(&mut self, last: bool) -> Result<Option<Record>> {
        if self.ended {
            return Ok(None);
        }
        let rest = &self.buffer[self.at..];
        let Some((length, consumed)) = self.record_end(rest, last)? else { return Ok(None) };
        let start = self.at;
        self.at += consumed;
        self.line += 1;
        self.record = start..start + length;
        let line = &self.buffer[start..start + length];
        if line == b"\\." {
            self.ended = true;
            return Ok(None);
        }
        let text = std::str::from_utf8(line)
            .map_err(|_| SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))?;
        if self.style.csv { self.csv_fields(text).map(Some) } else { self.text_fields(text).map(Some) }
    }

    /// Length of the next record without and with its line end.
    fn record_end(&self, rest: &[u8], last: bool) -> Result<Option<(usize, usize)>> {
        let mut quoted = false;
        let mut at = 0;
        while at < rest.len() {
            let byte = rest[at];
            if self.style.csv {
                // An escaped quote toggles twice, which comes to the same; another escape character must be skipped with its quote.
                if quoted && byte == self.style.escape && self.style.escape != self.style.quote && at + 1 < rest.len() {
                    at += 2;
                    continue;
                }
                quoted ^= byte == self.style.quote;
            } else if byte == b'\\' {
                at += 2;
                continue;
            }
            if byte == b'\n' && !quoted {
                let length = if at > 0 && rest[at - 1] == b'\r' { at - 1 } else { at };
                return Ok(Some((length, at + 1)));
            }
            at += 1;
        }
        if !last || rest.is_empty() {
            return Ok(None);
        }
        let length = if rest.ends_with(b"\r") { rest.len() - 1 } else { rest.len() };
        Ok(Some((length, rest.len())))
    }

    fn text_fields(&self, line: &str) -> Result<Record> {
        let mut fields = vec![];
        let bytes = line.as_bytes();
        let (mut start, mut at) = (0, 0);
        loop {
            if at >= bytes.len() || bytes[at] == self.style.delimiter {
                let raw = &line[start..at.min(bytes.len())];
                fields.push(if raw == self.style.null { None } else { Some(unescape(raw)?) });
                if at >= bytes.len() {
                    return Ok(fields);
                }
                start = at + 1;
                at += 1;
            } else {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
        }
    }

    fn csv_fields(&self, line: &str) -> Result<Record> {
        let mut fields = vec![];
        let mut field = Vec::new();
        let (mut quoted, mut was_quoted) = (false, false);
        let bytes = line.as_bytes();
        let mut at = 0;
        loop {
            match bytes.get(at) {
                None if quoted => return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field")),
                Some(&b) if quoted => {
                    let next = bytes.get(at + 1).copied();
                    if b == self.style.escape && next.is_some_and(|n| n == self.style.quote || n == self.style.escape) {
                        field.extend(next);
                        at += 1;
                    } else if b == self.style.quote {
                        quoted = false;
                    } else {
                        field.push(b);
                    }
                }
                Some(&b) if b == self.style.quote => (quoted, was_quoted) = (true, true),
                Some(&b) if b != self.style.delimiter => field.push(b),
                end => {
                    let text = String::from_utf8(std::mem::take(&mut field))
                        .map_err(|_| SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))?;
                    let n = fields.len();
                    let null = text == self.style.null && if was_quoted { self.style.forces(2, n) } else { !self.style.forces(1, n) };
                    fields.push(if null { None } else { Some(text) });
                    was_quoted = false;
                    if end.is_none() {
                        return Ok(fields);
                    }
                }
            }
            at += 1;
        }
    }
}

/// PostgreSQL's `limit_printout_length`.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 100;
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let cut = (0..=SHOWN).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &text[..cut])
}

/// Resolves the backslash sequences of the text format.
fn unescape(raw: &str) -> Result<String> {
    if !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 >= bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 2;
        match bytes[at - 1] {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            digit @ b'0'..=b'7' => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    match bytes.get(at) {
                        Some(d @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(d - b'0');
                            at += 1;
                        }
                        _ => break,
                    }
                }
                out.push((value & 0xff) as u8);
            }
            b'x' if bytes.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let length = bytes[at..].iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
                // At most two hexadecimal digits: always a byte.
                out.push(u8::from_str_radix(&raw[at..at + length], 16).unwrap_or(0));
                at += length;
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn style(csv: bool) -> Style {
        let format = if csv { CopyFormat::Csv } else { CopyFormat::Text };
        Style::new(&CopyOptions { format, ..CopyOptions::default() }).unwrap()
    }

    fn read_all(style: Style, input: &[u8], chunk: usize) -> Result<Vec<Record>> {
        let mut reader = Reader::new(style);
        let mut records = vec![];
        for piece in input.chunks(chunk) {
            reader.feed(piece)?;
            while let Some(record) = reader.next(false)? {
                records.push(record);
            }
        }
        while let Some(record) = reader.next(true)? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn postgresql_s_own_examples() {
        let text = read_all(style(false), b"a\\tb\t\\N\t\\x41\\101\n\\.\nignored\n", 3).unwrap();
        assert_eq!(text, [vec![Some("a\tb".to_owned()), None, Some("AA".to_owned())]]);
        let csv = read_all(style(true), b"1,\"say \"\"hi\"\"\",,\"\"\r\n2,\"two\nlines\",x,y", 2).unwrap();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(csv, [vec![some("1"), some("say \"hi\""), None, some("")], vec![some("2"), some("two\nlines"), some("x"), some("y")]]);
        assert!(read_all(style(true), b"\"open", 9).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            records in prop::collection::vec(prop::collection::vec(prop::option::of("[^\0]{0,12}"), 2..5), 1..6),
            csv: bool,
            chunk in 1_usize..40,
        ) {
            let mut out = vec![];
            for record in &records {
                let fields: Vec<Option<&str>> = record.iter().map(Option::as_deref).collect();
                style(csv).write(&fields, &mut out);
            }
            prop_assert_eq!(read_all(style(csv), &out, chunk).unwrap(), records);
        }

        #[test]
        fn no_input_panics(input: Vec<u8>, csv: bool, chunk in 1_usize..9) {
            let _ = read_all(style(csv), &input, chunk);
        }
    }
}
