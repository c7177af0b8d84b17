//! Server messages.

use bytes::{BufMut, BytesMut};
use meridian_sql::error::SqlError;
use meridian_sql::session::RESULT_TYPE_CHANGED;
use meridian_sql::session::api::{Field, Format, TransactionStatus};
use meridian_sql::types::{DataType, Datum, Io, write_binary, write_text};
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, ParameterDescription, RowDescription};
use pgwire::messages::response::{CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery};
use pgwire::messages::startup::ParameterStatus;

/// Encodes a message by its codec. A message of ours that does not encode is a bug worth a log line, not a lost connection.
pub fn put<M: Message>(output: &mut BytesMut, message: &M) {
    if let Err(error) = message.encode(output) {
        tracing::error!(%error, "a server message did not encode");
    }
}

/// ErrorResponse. `severity`: `ERROR` or `FATAL`.
pub fn error(output: &mut BytesMut, severity: &str, error: &SqlError) {
    put(output, &ErrorResponse::new(fields(severity, error)));
}

/// NoticeResponse.
pub fn notice(output: &mut BytesMut, severity: &str, error: &SqlError) {
    put(output, &NoticeResponse::new(fields(severity, error)));
}

fn fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.code.0.to_owned()),
        // The message must not be cut short by a NUL that came in through somebody's bytes.
        (b'M', error.message.replace('\0', "\\0")),
    ];
    if error.message == RESULT_TYPE_CHANGED {
        // Drivers (asyncpg, JDBC) tell this case, in which they prepare anew, by the routine of PostgreSQL that raises it.
        fields.push((b'R', "RevalidateCachedQuery".to_owned()));
    }
    if let Some(more) = &error.more {
        let mut add = |code: u8, value: &Option<String>| {
            if let Some(value) = value {
                fields.push((code, value.replace('\0', "\\0")));
            }
        };
        add(b'D', &more.detail);
        add(b'H', &more.hint);
        add(b'P', &more.position.map(|p| p.to_string()));
        add(b'W', &more.context);
        add(b's', &more.schema);
        add(b't', &more.table);
        add(b'c', &more.column);
        add(b'd', &more.datatype);
        add(b'n', &more.constraint);
    }
    fields
}

/// ReadyForQuery.
pub fn ready(output: &mut BytesMut, status: TransactionStatus) {
    use pgwire::messages::response::TransactionStatus as Wire;
    let status = match status {
        TransactionStatus::Idle => Wire::Idle,
        TransactionStatus::InTransaction => Wire::Transaction,
        TransactionStatus::Failed => Wire::Error,
    };
    put(output, &ReadyForQuery::new(status));
}

/// ParameterStatus.
pub fn parameter(output: &mut BytesMut, name: &str, value: &str) {
    put(output, &ParameterStatus::new(name.to_owned(), value.to_owned()));
}

/// CommandComplete.
pub fn complete(output: &mut BytesMut, tag: &str) {
    put(output, &CommandComplete::new(tag.to_owned()));
}

/// ParameterDescription.
pub fn parameters(output: &mut BytesMut, types: &[DataType]) {
    put(output, &ParameterDescription::new(types.iter().map(|t| t.0).collect()));
}

/// RowDescription.
pub fn row_description(output: &mut BytesMut, fields: &[Field]) {
    let describe = |f: &Field| {
        FieldDescription::new(
            f.name.clone(),
            f.table as i32,
            f.column,
            f.ty.0,
            f.ty.len(),
            f.typmod,
            match f.format {
                Format::Text => 0,
                Format::Binary => 1,
            },
        )
    };
    put(output, &RowDescription::new(fields.iter().map(describe).collect()));
}

/// Reused space for encoding values.
#[derive(Default)]
pub struct Scratch {
    text: String,
    binary: Vec<u8>,
}

/// DataRow, written in place: each value behind its length.
pub fn data_row(output: &mut BytesMut, fields: &[Field], row: &[Datum], io: &Io<'_>, scratch: &mut Scratch) {
    let start = output.len();
    output.put_u8(b'D');
    output.put_u32(0);
    output.put_u16(fields.len() as u16);
    for (field, datum) in fields.iter().zip(row) {
        if matches!(datum, Datum::Null) {
            output.put_i32(-1);
            continue;
        }
        let bytes = match field.format {
            Format::Text => {
                scratch.text.clear();
                write_text(datum, field.ty, *io, &mut scratch.text);
                scratch.text.as_bytes()
            }
            Format::Binary => {
                scratch.binary.clear();
                write_binary(datum, field.ty, &mut scratch.binary);
                &scratch.binary
            }
        };
        output.put_i32(bytes.len() as i32);
        output.put_slice(bytes);
    }
    let length = (output.len() - start - 1) as u32;
    output[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
}

/// A message that is nothing but its type byte.
pub fn bare(output: &mut BytesMut, tag: u8) {
    output.put_u8(tag);
    output.put_u32(4);
}

/// ParseComplete.
pub const PARSE_COMPLETE: u8 = b'1';
/// BindComplete.
pub const BIND_COMPLETE: u8 = b'2';
/// CloseComplete.
pub const CLOSE_COMPLETE: u8 = b'3';
/// NoData.
pub const NO_DATA: u8 = b'n';
/// PortalSuspended.
pub const PORTAL_SUSPENDED: u8 = b's';
/// EmptyQueryResponse.
pub const EMPTY_QUERY: u8 = b'I';
/// CopyDone.
pub const COPY_DONE: u8 = b'c';
