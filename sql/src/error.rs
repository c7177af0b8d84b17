//! Errors as PostgreSQL reports them.

use std::fmt;

use meridian_txn::api::KvError;

/// A five-character SQLSTATE (PostgreSQL 15, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! states {
    ($($name:ident = $code:literal;)*) => {
        impl SqlState { $(#[doc = concat!("`", $code, "`")] pub const $name: SqlState = SqlState($code);)* }
    };
}

states! {
    SUCCESS = "00000"; WARNING = "01000"; NO_DATA = "02000"; CONNECTION_FAILURE = "08006"; PROTOCOL_VIOLATION = "08P01";
    FEATURE_NOT_SUPPORTED = "0A000"; CARDINALITY_VIOLATION = "21000"; STRING_DATA_RIGHT_TRUNCATION = "22001"; NUMERIC_VALUE_OUT_OF_RANGE = "22003";
    NULL_VALUE_NOT_ALLOWED = "22004"; INVALID_DATETIME_FORMAT = "22007"; DATETIME_FIELD_OVERFLOW = "22008"; DIVISION_BY_ZERO = "22012";
    INVALID_INTERVAL = "22015"; INVALID_ESCAPE = "22025"; INVALID_ESCAPE_SEQUENCE = "22025"; SUBSTRING_ERROR = "22011"; INVALID_ESCAPE_CHARACTER = "22019";
    INVALID_REGULAR_EXPRESSION = "2201B"; INVALID_ROW_COUNT_IN_LIMIT = "2201W"; INVALID_ROW_COUNT_IN_OFFSET = "2201X"; INVALID_PARAMETER_VALUE = "22023";
    CHARACTER_NOT_IN_REPERTOIRE = "22021"; INVALID_ARGUMENT_FOR_LOG = "2201E"; INVALID_ARGUMENT_FOR_POWER = "2201F"; ARRAY_SUBSCRIPT_ERROR = "2202E";
    INVALID_TEXT_REPRESENTATION = "22P02"; INVALID_BINARY_REPRESENTATION = "22P03"; BAD_COPY_FILE_FORMAT = "22P04"; UNTRANSLATABLE_CHARACTER = "22P05";
    SEQUENCE_LIMIT_EXCEEDED = "2200H"; INTEGRITY_CONSTRAINT_VIOLATION = "23000"; NOT_NULL_VIOLATION = "23502"; FOREIGN_KEY_VIOLATION = "23503";
    UNIQUE_VIOLATION = "23505"; CHECK_VIOLATION = "23514"; INVALID_CURSOR_STATE = "24000"; INVALID_TRANSACTION_STATE = "25000"; ACTIVE_SQL_TRANSACTION = "25001";
    READ_ONLY_SQL_TRANSACTION = "25006"; NO_ACTIVE_SQL_TRANSACTION = "25P01"; IN_FAILED_SQL_TRANSACTION = "25P02"; IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03";
    INVALID_SQL_STATEMENT_NAME = "26000"; INVALID_AUTHORIZATION = "28000"; INVALID_PASSWORD = "28P01"; DEPENDENT_OBJECTS_STILL_EXIST = "2BP01";
    INVALID_CURSOR_NAME = "34000"; INVALID_SAVEPOINT = "3B001"; INVALID_CATALOG_NAME = "3D000"; INVALID_SCHEMA_NAME = "3F000"; SERIALIZATION_FAILURE = "40001";
    STATEMENT_COMPLETION_UNKNOWN = "40003"; DEADLOCK_DETECTED = "40P01"; INSUFFICIENT_PRIVILEGE = "42501"; SYNTAX_ERROR = "42601"; INVALID_NAME = "42602";
    NAME_TOO_LONG = "42622"; RESERVED_NAME = "42939"; CANNOT_COERCE = "42846"; GROUPING_ERROR = "42803"; WINDOWING_ERROR = "42P20"; INVALID_RECURSION = "42P19";
    INVALID_FOREIGN_KEY = "42830"; DATATYPE_MISMATCH = "42804"; WRONG_OBJECT_TYPE = "42809"; UNDEFINED_COLUMN = "42703"; UNDEFINED_FUNCTION = "42883";
    UNDEFINED_TABLE = "42P01"; UNDEFINED_PARAMETER = "42P02"; UNDEFINED_OBJECT = "42704"; DUPLICATE_COLUMN = "42701"; DUPLICATE_CURSOR = "42P03";
    DUPLICATE_DATABASE = "42P04"; DUPLICATE_PREPARED_STATEMENT = "42P05"; DUPLICATE_SCHEMA = "42P06"; DUPLICATE_TABLE = "42P07"; DUPLICATE_ALIAS = "42712";
    DUPLICATE_OBJECT = "42710"; DUPLICATE_FUNCTION = "42723"; AMBIGUOUS_COLUMN = "42702"; AMBIGUOUS_FUNCTION = "42725"; AMBIGUOUS_ALIAS = "42P09";
    INVALID_COLUMN_REFERENCE = "42P10"; INVALID_COLUMN_DEFINITION = "42611"; INVALID_CURSOR_DEFINITION = "42P11"; INVALID_TABLE_DEFINITION = "42P16";
    INVALID_OBJECT_DEFINITION = "42P17"; INDETERMINATE_DATATYPE = "42P18"; INDETERMINATE_COLLATION = "42P22"; WITH_CHECK_OPTION_VIOLATION = "44000";
    INSUFFICIENT_RESOURCES = "53000"; DISK_FULL = "53100"; OUT_OF_MEMORY = "53200"; TOO_MANY_CONNECTIONS = "53300"; CONFIGURATION_LIMIT_EXCEEDED = "53400";
    PROGRAM_LIMIT_EXCEEDED = "54000"; STATEMENT_TOO_COMPLEX = "54001"; TOO_MANY_COLUMNS = "54011"; TOO_MANY_ARGUMENTS = "54023";
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"; OBJECT_IN_USE = "55006"; CANT_CHANGE_RUNTIME_PARAM = "55P02"; LOCK_NOT_AVAILABLE = "55P03";
    QUERY_CANCELED = "57014"; ADMIN_SHUTDOWN = "57P01"; CANNOT_CONNECT_NOW = "57P03"; IO_ERROR = "58030"; UNDEFINED_FILE = "58P01";
    INTERNAL_ERROR = "XX000"; DATA_CORRUPTED = "XX001";
}

/// Everything an ErrorResponse or NoticeResponse can carry.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// SQLSTATE.
    pub code: SqlState,
    /// Primary message, in PostgreSQL's words where it has some.
    pub message: String,
    /// The rest is rare: boxed, to keep results small.
    pub more: Option<Box<ErrorFields>>,
}

/// The optional fields of an error (PostgreSQL protocol, "Error and Notice Message Fields").
#[derive(Clone, Debug, Default)]
pub struct ErrorFields {
    /// `D`
    pub detail: Option<String>,
    /// `H`
    pub hint: Option<String>,
    /// `P`: 1-based character offset in the statement.
    pub position: Option<u32>,
    /// `W`
    pub context: Option<String>,
    /// `s`
    pub schema: Option<String>,
    /// `t`
    pub table: Option<String>,
    /// `c`
    pub column: Option<String>,
    /// `d`
    pub datatype: Option<String>,
    /// `n`
    pub constraint: Option<String>,
    /// The KV error it came from: session retries and names keys with it.
    pub kv: Option<KvError>,
}

/// The result of SQL-level work.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    /// An error with a message.
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        SqlError { code, message: message.into(), more: None }
    }
    /// `0A000`, naming the feature.
    pub fn unsupported(feature: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{feature} is not supported"))
    }
    /// `XX000`: a bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }
    pub(crate) fn fields(&mut self) -> &mut ErrorFields {
        self.more.get_or_insert_default()
    }
    /// Adds `DETAIL`.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.fields().detail = Some(detail.into());
        self
    }
    /// Adds `HINT`.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.fields().hint = Some(hint.into());
        self
    }
    /// Adds the position, a 1-based character offset in the statement.
    pub fn position(mut self, position: u32) -> Self {
        self.fields().position = Some(position);
        self
    }
    /// Names the table.
    pub fn table(mut self, schema: impl Into<String>, table: impl Into<String>) -> Self {
        let fields = self.fields();
        fields.schema = Some(schema.into());
        fields.table = Some(table.into());
        self
    }
    /// Names the schema and table by the relation's OID, for callers that know the catalog.
    pub fn of_relation(
        self,
        catalog: &crate::catalog::snapshot::CatalogSnapshot,
        relation: &crate::catalog::descriptor::RelationDescriptor,
    ) -> Self {
        let schema = catalog.schemas.get(&relation.schema).map(|s| s.name.clone()).unwrap_or_default();
        self.table(schema, relation.name.clone())
    }
    /// Names the column.
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.fields().column = Some(column.into());
        self
    }
    /// Names the constraint.
    pub fn constraint(mut self, constraint: impl Into<String>) -> Self {
        self.fields().constraint = Some(constraint.into());
        self
    }
    /// The KV error that caused it, if one did.
    pub fn kv(&self) -> Option<&KvError> {
        self.more.as_ref().and_then(|m| m.kv.as_ref())
    }
}

impl From<KvError> for SqlError {
    fn from(error: KvError) -> Self {
        let code = match &error {
            KvError::Retry { .. } => SqlState::SERIALIZATION_FAILURE,
            KvError::Deadlock { .. } => SqlState::DEADLOCK_DETECTED,
            KvError::LockTimeout { .. } | KvError::LockNotAvailable { .. } => SqlState::LOCK_NOT_AVAILABLE,
            KvError::KeyExists { .. } => SqlState::UNIQUE_VIOLATION,
            KvError::Ambiguous(_) => SqlState::STATEMENT_COMPLETION_UNKNOWN,
            KvError::DiskFull(_) => SqlState::DISK_FULL,
            KvError::Overloaded(_) => SqlState::INSUFFICIENT_RESOURCES,
            KvError::Unavailable(_) => SqlState::CANNOT_CONNECT_NOW,
            KvError::TimestampOutOfRange(_) => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            KvError::LimitExceeded(_) => SqlState::PROGRAM_LIMIT_EXCEEDED,
            KvError::ReadOnly => SqlState::READ_ONLY_SQL_TRANSACTION,
            KvError::Corruption(_) => SqlState::DATA_CORRUPTED,
            KvError::Program(_) | KvError::Internal(_) => SqlState::INTERNAL_ERROR,
        };
        let mut out = SqlError::new(code, error.to_string());
        out.fields().kv = Some(error);
        out
    }
}
