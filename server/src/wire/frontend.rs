//! Client messages, decoded strictly.
//!
//! The frame has been cut by its length already; a body must be used up exactly. Anything else is `08P01`, invalid UTF-8 is
//! `22021`, as PostgreSQL reports them.

use bytes::{Buf, Bytes};
use meridian_sql::error::{Result, SqlError, SqlState};

/// A client message after start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// `Q`
    Query(String),
    /// `P`
    Parse { name: String, sql: String, types: Vec<u32> },
    /// `B`
    Bind { portal: String, statement: String, formats: Vec<i16>, values: Vec<Option<Bytes>>, result_formats: Vec<i16> },
    /// `D`
    Describe(Target),
    /// `E`
    Execute { portal: String, max_rows: u32 },
    /// `C`
    Close(Target),
    /// `S`
    Sync,
    /// `H`
    Flush,
    /// `X`
    Terminate,
    /// `d`
    CopyData(Bytes),
    /// `c`
    CopyDone,
    /// `f`
    CopyFail(String),
    /// `p`: password and SASL messages, told apart by the authentication state.
    Password(Bytes),
}

/// What Describe and Close name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// `08P01` with PostgreSQL's words.
pub fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

/// Decodes the body of a message with type byte `tag`.
pub fn decode(tag: u8, body: Bytes) -> Result<Frontend> {
    let mut body = Body(body);
    let message = match tag {
        b'Q' => Frontend::Query(body.string()?),
        b'P' => {
            let (name, sql) = (body.string()?, body.string()?);
            let count = body.count(4)?;
            Frontend::Parse { name, sql, types: (0..count).map(|_| body.u32()).collect::<Result<_>>()? }
        }
        b'B' => bind(&mut body)?,
        b'D' => Frontend::Describe(body.target()?),
        b'C' => Frontend::Close(body.target()?),
        b'E' => {
            let portal = body.string()?;
            // Negative means "no limit", like zero.
            Frontend::Execute { portal, max_rows: u32::try_from(body.u32()? as i32).unwrap_or(0) }
        }
        b'S' => Frontend::Sync,
        b'H' => Frontend::Flush,
        b'X' => Frontend::Terminate,
        b'd' => return Ok(Frontend::CopyData(body.0)),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.string()?),
        b'p' => return Ok(Frontend::Password(body.0)),
        b'F' => return Err(SqlError::unsupported("the function call protocol")),
        other => return Err(violation(format!("invalid frontend message type {other}"))),
    };
    if body.0.has_remaining() {
        return Err(violation("invalid message format"));
    }
    Ok(message)
}

fn bind(body: &mut Body) -> Result<Frontend> {
    let (portal, statement) = (body.string()?, body.string()?);
    let count = body.count(2)?;
    let formats: Vec<i16> = (0..count).map(|_| body.i16()).collect::<Result<_>>()?;
    let count = body.count(4)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(match body.u32()? as i32 {
            -1 => None,
            length => Some(body.bytes(usize::try_from(length).map_err(|_| violation("invalid message format"))?)?),
        });
    }
    if formats.len() > 1 && formats.len() != values.len() {
        return Err(violation(format!("bind message has {} parameter formats but {} parameters", formats.len(), values.len())));
    }
    let count = body.count(2)?;
    let result_formats = (0..count).map(|_| body.i16()).collect::<Result<_>>()?;
    Ok(Frontend::Bind { portal, statement, formats, values, result_formats })
}

/// A body with checked reads.
pub struct Body(pub Bytes);

impl Body {
    fn need(&self, bytes: usize) -> Result<()> {
        if self.0.remaining() < bytes { Err(violation("insufficient data left in message")) } else { Ok(()) }
    }

    /// A NUL-terminated UTF-8 string.
    pub fn string(&mut self) -> Result<String> {
        let end = self.0.iter().position(|b| *b == 0).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        utf8(&bytes).map(str::to_owned)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    fn i16(&mut self) -> Result<i16> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    /// A count of items of at least `item_bytes` each, which must fit in what is left.
    fn count(&mut self, item_bytes: usize) -> Result<usize> {
        self.need(2)?;
        let count = usize::from(self.0.get_u16());
        self.need(count * item_bytes)?;
        Ok(count)
    }

    /// Exactly `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<Bytes> {
        self.need(length)?;
        Ok(self.0.split_to(length))
    }

    fn target(&mut self) -> Result<Target> {
        self.need(1)?;
        let kind = self.0.get_u8();
        let name = self.string()?;
        match kind {
            b'S' => Ok(Target::Statement(name)),
            b'P' => Ok(Target::Portal(name)),
            other => Err(violation(format!("invalid DESCRIBE or CLOSE message subtype {other}"))),
        }
    }
}

/// The bytes as text, or `22021` with the offending bytes.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let bad: Vec<String> = bytes[at..].iter().take(e.error_len().unwrap_or(1)).map(|b| format!("0x{b:02x}")).collect();
        SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bind_message_decodes() {
        let mut body = b"p\0s\0".to_vec();
        body.extend([0, 1, 0, 1, 0, 2, 0, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        let expected = Frontend::Bind {
            portal: "p".into(),
            statement: "s".into(),
            formats: vec![1],
            values: vec![Some(Bytes::from_static(&[7])), None],
            result_formats: vec![],
        };
        assert_eq!(decode(b'B', body.into()).unwrap(), expected);
    }

    #[test]
    fn lies_about_lengths_are_protocol_violations() {
        for (tag, body) in [
            (b'B', &b"\0\0\xff\xff"[..]),
            (b'B', &b"\0\0\0\0\0\x01\x7f\xff\xff\xff"[..]),
            (b'P', &b"no terminator"[..]),
            (b'Q', &b"select 1\0rest"[..]),
            (b'D', &b"Zx\0"[..]),
            (b'E', &b"\0\0"[..]),
        ] {
            assert_eq!(decode(tag, Bytes::copy_from_slice(body)).unwrap_err().code, SqlState::PROTOCOL_VIOLATION, "{tag} {body:?}");
        }
        let error = decode(b'Q', Bytes::from_static(b"\xff\0")).unwrap_err();
        assert_eq!(error.code, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    }

    proptest! {
        #[test]
        fn no_body_panics(tag: u8, body: Vec<u8>) {
            let _ = decode(tag, body.into());
        }
    }
}
