//! Where a statement's results go: into the client's output buffer, which is sent when it is large.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes};
use meridian_sql::error::{Result, SqlError, SqlState};
use meridian_sql::session::api::{Field, ResultSink};
use meridian_sql::types::{Datum, Io};
use pgwire::messages::copy::{CopyInResponse, CopyOutResponse};

use super::backend;
use super::frontend::{Frontend, decode, violation};
use super::io::ClientIo;

/// A sink over one client. In the extended protocol the fields were described already, so `begin` sends nothing.
pub struct WireSink<'a> {
    io: &'a mut ClientIo,
    extended: bool,
    /// The columns as the client bound them (extended protocol): their formats are what rows are written in.
    bound: Option<Arc<[Field]>>,
    fields: Arc<[Field]>,
    /// Where the statement's output begins, and how many bytes had been sent then.
    mark: (usize, u64),
    scratch: backend::Scratch,
}

impl<'a> WireSink<'a> {
    /// A sink for one query string or one Execute.
    pub fn new(io: &'a mut ClientIo, extended: bool) -> Self {
        let mark = (io.output.len(), io.sent_bytes());
        WireSink { io, extended, bound: None, fields: Arc::from([]), mark, scratch: backend::Scratch::default() }
    }

    /// The same, for an Execute of a portal whose columns are `bound`.
    pub fn bound(io: &'a mut ClientIo, bound: Option<Arc<[Field]>>) -> Self {
        WireSink { bound, ..WireSink::new(io, true) }
    }
}

#[async_trait]
impl ResultSink for WireSink<'_> {
    async fn begin(&mut self, fields: &Arc<[Field]>) -> Result<()> {
        self.fields = match &self.bound {
            Some(bound) if bound.len() == fields.len() => bound.clone(),
            _ => fields.clone(),
        };
        if !self.extended {
            backend::row_description(&mut self.io.output, fields);
        }
        Ok(())
    }

    async fn rows(&mut self, datums: &[Datum], io: Io<'_>) -> Result<()> {
        if self.fields.is_empty() {
            return Err(SqlError::internal("rows without a described result"));
        }
        for row in datums.chunks_exact(self.fields.len()) {
            backend::data_row(&mut self.io.output, &self.fields, row, &io, &mut self.scratch);
            self.io.flush_if_large().await?;
        }
        Ok(())
    }

    async fn empty_rows(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.io.output.put_slice(&[b'D', 0, 0, 0, 6, 0, 0]);
            self.io.flush_if_large().await?;
        }
        Ok(())
    }

    async fn complete(&mut self, tag: &str) -> Result<()> {
        backend::complete(&mut self.io.output, tag);
        Ok(())
    }

    async fn empty(&mut self) -> Result<()> {
        backend::bare(&mut self.io.output, backend::EMPTY_QUERY);
        Ok(())
    }

    async fn notice(&mut self, severity: &'static str, notice: &SqlError) -> Result<()> {
        backend::notice(&mut self.io.output, severity, notice);
        Ok(())
    }

    async fn parameter(&mut self, name: &str, value: &str) -> Result<()> {
        backend::parameter(&mut self.io.output, name, value);
        Ok(())
    }

    async fn copy_out(&mut self, binary: bool, columns: usize) -> Result<()> {
        let format = i8::from(binary);
        let message = CopyOutResponse::new(format, columns as i16, vec![i16::from(format); columns]);
        backend::put(&mut self.io.output, &message);
        Ok(())
    }

    async fn copy_data(&mut self, data: Bytes) -> Result<()> {
        self.io.output.put_u8(b'd');
        self.io.output.put_u32(data.len() as u32 + 4);
        self.io.output.put_slice(&data);
        self.io.flush_if_large().await
    }

    async fn copy_done(&mut self) -> Result<()> {
        backend::bare(&mut self.io.output, backend::COPY_DONE);
        Ok(())
    }

    async fn copy_in(&mut self, binary: bool, columns: usize) -> Result<()> {
        let format = i8::from(binary);
        let message = CopyInResponse::new(format, columns as i16, vec![i16::from(format); columns]);
        backend::put(&mut self.io.output, &message);
        self.io.flush().await
    }

    async fn copy_next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some((tag, body)) = self.io.message().await? else {
                return Err(SqlError::new(SqlState::CONNECTION_FAILURE, "unexpected EOF on client connection during COPY from stdin"));
            };
            match decode(tag, body)? {
                Frontend::CopyData(data) => return Ok(Some(data)),
                Frontend::CopyDone => return Ok(None),
                Frontend::CopyFail(reason) => {
                    return Err(SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {reason}")));
                }
                // PostgreSQL: Flush and Sync are ignored in copy-in mode.
                Frontend::Flush | Frontend::Sync => {}
                _ => return Err(violation(format!("unexpected message type 0x{tag:02X} during COPY from stdin"))),
            }
        }
    }

    fn mark(&mut self) {
        self.mark = (self.io.output.len(), self.io.sent_bytes());
    }

    fn rewind(&mut self) -> bool {
        let (length, sent) = self.mark;
        if self.io.sent_bytes() != sent {
            return false;
        }
        self.io.output.truncate(length);
        true
    }
}
