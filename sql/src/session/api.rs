//! The seam between the wire and SQL.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Result, SqlError};
use crate::types::{DataType, Datum, Io};

/// A column of a result, as RowDescription shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Table OID, or 0.
    pub table: u32,
    /// Attribute number, or 0.
    pub column: i16,
    /// Type.
    pub ty: DataType,
    /// Modifier, −1 for none.
    pub typmod: i32,
    /// Wire format of this column in this result.
    pub format: Format,
}

/// Wire formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text.
    #[default]
    Text,
    /// Binary.
    Binary,
}

/// Where results go. The wire encodes rows into its output buffer and waits when the client is slow; nothing is held for longer than one batch.
#[async_trait]
pub trait ResultSink: Send {
    /// A result begins (simple protocol: RowDescription; extended: nothing is sent).
    async fn begin(&mut self, fields: &Arc<[Field]>) -> Result<()>;
    /// Rows, flattened: `datums.len()` is a multiple of the number of fields.
    async fn rows(&mut self, datums: &[Datum], io: Io<'_>) -> Result<()>;
    /// `count` rows of no columns (`SELECT FROM t`).
    async fn empty_rows(&mut self, count: usize) -> Result<()>;
    /// CommandComplete with this tag.
    async fn complete(&mut self, tag: &str) -> Result<()>;
    /// EmptyQueryResponse.
    async fn empty(&mut self) -> Result<()>;
    /// A notice or warning.
    async fn notice(&mut self, severity: &'static str, notice: &SqlError) -> Result<()>;
    /// A reported setting changed (ParameterStatus).
    async fn parameter(&mut self, name: &str, value: &str) -> Result<()>;
    /// COPY … TO STDOUT begins: (binary?, number of columns).
    async fn copy_out(&mut self, binary: bool, columns: usize) -> Result<()>;
    /// CopyData.
    async fn copy_data(&mut self, data: Bytes) -> Result<()>;
    /// CopyDone.
    async fn copy_done(&mut self) -> Result<()>;
    /// COPY … FROM STDIN: sends CopyInResponse, then yields CopyData bodies until `None` at CopyDone. CopyFail is an error `57014`.
    async fn copy_in(&mut self, binary: bool, columns: usize) -> Result<()>;
    /// The next CopyData body; `None` at CopyDone.
    async fn copy_next(&mut self) -> Result<Option<Bytes>>;
    /// Remembers this point in the output: a statement begins.
    fn mark(&mut self);
    /// Takes back everything given since the mark, so that the statement can be run again inside the server. `false` if some of it has gone
    /// out already.
    fn rewind(&mut self) -> bool;
}

/// How an Execute ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// The statement is done (CommandComplete or EmptyQueryResponse was given to the sink).
    Complete,
    /// The row limit was reached: PortalSuspended.
    Suspended,
}

/// ReadyForQuery's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    InTransaction,
    /// `E`
    Failed,
}

/// What Describe of a statement answers.
#[derive(Clone, Debug)]
pub struct StatementDescription {
    /// Parameter types.
    pub parameters: Vec<DataType>,
    /// Result columns, `None` if it returns no rows.
    pub fields: Option<Arc<[Field]>>,
}

/// How a session begins.
#[derive(Clone, Debug, Default)]
pub struct SessionStart {
    /// Authenticated user.
    pub user: String,
    /// Database asked for.
    pub database: String,
    /// Other startup parameters: settings.
    pub parameters: Vec<(String, String)>,
    /// The client's address, for `pg_stat_activity`.
    pub client: String,
}
