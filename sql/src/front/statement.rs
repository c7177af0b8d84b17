//! What a statement is.
//!
//! Queries, DML and most DDL carry sqlparser's tree inside an [`Ast`]; everything else has a shape of its own here. Names in all of
//! them are folded already.

use std::ops::{Deref, Range};

use sqlparser::ast;

use super::source::Source;
use crate::error::SqlError;

/// A syntax tree that is dropped on a stack large enough for its depth.
#[derive(Clone, Debug)]
pub struct Ast<T> {
    inner: Option<Box<T>>,
    weight: usize,
}

impl<T> Ast<T> {
    /// Wraps a tree; `weight` as [`super::lex::weight`] measures it.
    pub fn new(inner: T, weight: usize) -> Self {
        Ast { inner: Some(Box::new(inner)), weight }
    }
}

impl<T> Deref for Ast<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // Invariant: only Drop empties it.
        match &self.inner {
            Some(inner) => inner,
            None => unreachable!("a tree in use"),
        }
    }
}

impl<T> Drop for Ast<T> {
    fn drop(&mut self) {
        let inner = self.inner.take();
        if self.weight > 16 {
            super::with_stack(self.weight / 8, move || drop(inner));
        }
    }
}

/// A parsed statement with where it came from.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// The whole query string (error positions count in it).
    pub source: Source,
    /// The bytes of `source` that are this statement.
    pub range: Range<usize>,
    /// The highest `$n` it uses.
    pub parameters: usize,
    /// How deep its tree may be; binders run inside [`super::with_stack`] with it.
    pub depth: usize,
    /// Notices of the front: truncated identifiers.
    pub notices: Vec<SqlError>,
}

impl Parsed {
    /// The statement's own text.
    pub fn text(&self) -> &str {
        self.source.text().get(self.range.clone()).unwrap_or("")
    }
    /// An inner statement (of PREPARE, DECLARE, EXPLAIN, COPY (…)) that shares this text.
    pub(crate) fn inner(source: &Source, tokens: &[sqlparser::tokenizer::TokenWithSpan], statement: Statement) -> Box<Parsed> {
        Box::new(Parsed {
            statement,
            source: source.clone(),
            range: source.byte_range(tokens),
            parameters: super::lex::parameters(tokens),
            depth: super::lex::weight(tokens),
            notices: Vec::new(),
        })
    }
}

/// The kinds of statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// SELECT, VALUES, TABLE, WITH …; `as_of`: AS OF SYSTEM TIME.
    Query {
        /// `ast::Statement::Query`.
        ast: Ast<ast::Statement>,
        /// The expression of `AS OF SYSTEM TIME`.
        as_of: Option<Box<ast::Expr>>,
    },
    /// INSERT, UPDATE, DELETE (with or without WITH).
    Dml(Ast<ast::Statement>),
    /// Schema changes.
    Ddl(Ddl),
    /// BEGIN, COMMIT, SAVEPOINT, ….
    Transaction(Transaction),
    /// SET, SHOW, RESET, DISCARD.
    Session(Session),
    /// `PREPARE name (types) AS statement`
    Prepare {
        /// Name.
        name: String,
        /// Declared parameter types.
        types: Vec<ast::DataType>,
        /// What to prepare.
        statement: Box<Parsed>,
    },
    /// `EXECUTE name (args)`
    Execute {
        /// Name.
        name: String,
        /// Arguments.
        args: Vec<ast::Expr>,
    },
    /// `DEALLOCATE name | ALL`
    Deallocate(Option<String>),
    /// `DECLARE name … CURSOR … FOR query`
    Declare(Declare),
    /// FETCH or MOVE.
    Fetch(Fetch),
    /// `CLOSE name | ALL`
    Close(Option<String>),
    /// COPY.
    Copy(Box<Copy>),
    /// EXPLAIN.
    Explain(ExplainOptions, Box<Parsed>),
    /// `LOCK TABLE a, b IN … MODE`
    LockTable {
        /// Tables.
        tables: Vec<ast::ObjectName>,
        /// `access share` … `access exclusive`.
        mode: String,
        /// NOWAIT.
        nowait: bool,
    },
    /// VACUUM [ANALYZE] [tables]: nothing to do here but statistics.
    Vacuum {
        /// With ANALYZE.
        analyze: bool,
        /// Tables; empty: all.
        tables: Vec<ast::ObjectName>,
    },
    /// ANALYZE [tables].
    Analyze {
        /// Tables; empty: all.
        tables: Vec<ast::ObjectName>,
    },
    /// `SHOW RANGES [FROM TABLE t | FROM INDEX t@i]`
    ShowRanges {
        /// Table.
        table: Option<ast::ObjectName>,
        /// Index; `None`: all of the table's.
        index: Option<String>,
    },
    /// `CHECKPOINT`: nothing to do.
    Checkpoint,
    /// `UNLISTEN * | name`: nothing to do.
    Unlisten,
}

/// Schema changes.
#[derive(Clone, Debug)]
pub enum Ddl {
    /// CREATE TABLE/VIEW/INDEX/SCHEMA/SEQUENCE, DROP, TRUNCATE, GRANT, …: as sqlparser gives them. `concurrently`: DROP INDEX
    /// CONCURRENTLY (CREATE INDEX has its own flag).
    Ast {
        /// The tree.
        ast: Ast<ast::Statement>,
        /// DROP INDEX CONCURRENTLY.
        concurrently: bool,
        /// The statement's AS query as text, for CREATE VIEW and CREATE TABLE AS.
        query: Option<Box<Parsed>>,
        /// CREATE TABLE AS … WITH NO DATA.
        no_data: bool,
        /// CREATE TABLE (LIKE …).
        likes: Vec<LikeClause>,
    },
    /// `ALTER TABLE [IF EXISTS] [ONLY] name action, …`; also `ALTER VIEW/SEQUENCE/INDEX name RENAME TO / SET SCHEMA / OWNER TO` (`object` tells).
    AlterTable {
        /// What kind of relation the statement names.
        object: RelationWord,
        /// IF EXISTS.
        if_exists: bool,
        /// Which.
        name: ast::ObjectName,
        /// What to do.
        actions: Vec<AlterAction>,
    },
    /// `ALTER SEQUENCE`
    AlterSequence {
        /// IF EXISTS.
        if_exists: bool,
        /// Which.
        name: ast::ObjectName,
        /// Options in order.
        options: Vec<SequenceOption>,
    },
    /// CREATE ROLE/USER.
    CreateRole {
        /// CREATE USER: LOGIN by default.
        user: bool,
        /// Name.
        name: String,
        /// Options.
        options: Vec<RoleOption>,
    },
    /// ALTER ROLE/USER … options.
    AlterRole {
        /// Name.
        name: String,
        /// Options.
        options: Vec<RoleOption>,
    },
    /// ALTER ROLE … RENAME TO.
    RenameRole {
        /// Old name.
        name: String,
        /// New name.
        to: String,
    },
    /// DROP ROLE/USER.
    DropRole {
        /// IF EXISTS.
        if_exists: bool,
        /// Names.
        names: Vec<String>,
    },
    /// CREATE DATABASE.
    CreateDatabase {
        /// Name.
        name: String,
        /// IF NOT EXISTS (an extension of ours).
        if_not_exists: bool,
        /// Options by lower-case name, as text.
        options: Vec<(String, String)>,
    },
    /// DROP DATABASE.
    DropDatabase {
        /// IF EXISTS.
        if_exists: bool,
        /// Name.
        name: String,
        /// WITH (FORCE).
        force: bool,
    },
    /// ALTER DATABASE … RENAME TO / OWNER TO.
    AlterDatabase {
        /// Name.
        name: String,
        /// What to do.
        action: NameAction,
    },
    /// ALTER SCHEMA … RENAME TO / OWNER TO.
    AlterSchema {
        /// Name.
        name: String,
        /// What to do.
        action: NameAction,
    },
    /// COMMENT ON.
    Comment {
        /// `table`, `column`, `index`, `view`, `sequence`, `schema`, `database`, `constraint`, `role`, ….
        object: String,
        /// Its name.
        name: ast::ObjectName,
        /// `ON table` of a constraint.
        on: Option<ast::ObjectName>,
        /// The text; NULL removes.
        comment: Option<String>,
    },
    /// `ALTER TABLE t SPLIT AT VALUES (…), …`, `ALTER INDEX [t@]i SPLIT AT VALUES …`.
    SplitAt {
        /// Table, or index name when `index` is set and the table unknown.
        relation: ast::ObjectName,
        /// It names an index: `ALTER INDEX i`, or `ALTER INDEX t@i` (then `relation` is t).
        index: Option<IndexName>,
        /// Rows of key prefixes.
        rows: Vec<Vec<ast::Expr>>,
    },
}

/// `LIKE table [INCLUDING …]` among the columns of CREATE TABLE.
#[derive(Clone, Debug)]
pub struct LikeClause {
    /// Whose columns.
    pub source: ast::ObjectName,
    /// How many of the statement's own columns stand before it.
    pub before: usize,
    /// What is copied besides names, types and NOT NULL: lower-case words, without those excluded again.
    pub including: Vec<String>,
}

impl LikeClause {
    /// Whether an INCLUDING option is on.
    pub fn includes(&self, what: &str) -> bool {
        self.including.iter().any(|w| w == what)
    }
}

/// How ALTER INDEX … SPLIT AT names its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexName {
    /// `ALTER INDEX i`: the relation is the index itself.
    Itself,
    /// `ALTER INDEX t@i`
    OfTable(String),
}

/// The word after ALTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationWord {
    /// TABLE
    Table,
    /// INDEX
    Index,
    /// VIEW
    View,
    /// SEQUENCE
    Sequence,
}

/// One ALTER TABLE action.
#[derive(Clone, Debug)]
pub enum AlterAction {
    /// As sqlparser gives it.
    Ast(Box<ast::AlterTableOperation>),
    /// SET SCHEMA.
    SetSchema(String),
    /// OWNER TO.
    OwnerTo(String),
    /// RENAME TO.
    RenameTo(String),
    /// `ALTER CONSTRAINT name [DEFERRABLE …]`
    AlterConstraint {
        /// Name.
        name: String,
        /// DEFERRABLE.
        deferrable: bool,
        /// INITIALLY DEFERRED.
        initially_deferred: bool,
    },
    /// `ALTER COLUMN c SET GENERATED ALWAYS | BY DEFAULT`
    SetIdentity {
        /// Column.
        column: String,
        /// ALWAYS.
        always: bool,
    },
    /// `ALTER COLUMN c DROP IDENTITY [IF EXISTS]`
    DropIdentity {
        /// Column.
        column: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// `ALTER COLUMN c SET STATISTICS/STORAGE/COMPRESSION …`, `SET (…)`, `CLUSTER ON`, `SET LOGGED`, …: nothing to do here; a notice says so.
    Harmless(String),
}

/// RENAME TO or OWNER TO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameAction {
    /// RENAME TO
    Rename(String),
    /// OWNER TO
    Owner(String),
}

/// Sequence options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceOption {
    /// AS type
    As(ast::DataType),
    /// INCREMENT BY
    Increment(i64),
    /// MINVALUE; `None`: NO MINVALUE.
    Min(Option<i64>),
    /// MAXVALUE; `None`: NO MAXVALUE.
    Max(Option<i64>),
    /// START WITH
    Start(i64),
    /// RESTART [WITH]
    Restart(Option<i64>),
    /// CACHE
    Cache(i64),
    /// [NO] CYCLE
    Cycle(bool),
    /// OWNED BY table.column; `None`: NONE.
    OwnedBy(Option<ast::ObjectName>),
}

/// Role options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleOption {
    /// [NO]SUPERUSER
    Superuser(bool),
    /// [NO]CREATEDB
    CreateDb(bool),
    /// [NO]CREATEROLE
    CreateRole(bool),
    /// [NO]LOGIN
    Login(bool),
    /// PASSWORD; `None`: NULL.
    Password(Option<String>),
    /// CONNECTION LIMIT
    ConnectionLimit(i32),
    /// INHERIT, REPLICATION, BYPASSRLS, VALID UNTIL, IN ROLE …: not supported; the word.
    Other(String),
}

/// Transaction control.
#[derive(Clone, Debug)]
pub enum Transaction {
    /// BEGIN / START TRANSACTION.
    Begin(Box<TransactionModes>),
    /// COMMIT / END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK / ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE.
    Release(String),
    /// ROLLBACK TO.
    RollbackTo(String),
    /// SET TRANSACTION.
    Set(Box<TransactionModes>),
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetDefaults(Box<TransactionModes>),
    /// SET CONSTRAINTS; empty: ALL.
    SetConstraints {
        /// Which.
        names: Vec<ast::ObjectName>,
        /// DEFERRED.
        deferred: bool,
    },
}

/// Isolation levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED
    ReadUncommitted,
    /// READ COMMITTED
    ReadCommitted,
    /// REPEATABLE READ
    RepeatableRead,
    /// SERIALIZABLE
    Serializable,
}

/// Modes of BEGIN and SET TRANSACTION.
#[derive(Clone, Debug, Default)]
pub struct TransactionModes {
    /// START TRANSACTION, which answers with its own tag.
    pub start: bool,
    /// ISOLATION LEVEL
    pub isolation: Option<Isolation>,
    /// READ ONLY / READ WRITE
    pub read_only: Option<bool>,
    /// [NOT] DEFERRABLE
    pub deferrable: Option<bool>,
    /// AS OF SYSTEM TIME
    pub as_of: Option<ast::Expr>,
    /// SET TRANSACTION SNAPSHOT
    pub snapshot: Option<String>,
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// SET name = values; `None`: DEFAULT. `search_path`, `timezone` and so on by their setting names.
    Set {
        /// Lower-case name.
        name: String,
        /// The value: lists are joined by ", " with identifiers quoted where they need it, as PostgreSQL stores them.
        value: Option<String>,
        /// The list's items, unquoted.
        items: Vec<String>,
        /// SET LOCAL.
        local: bool,
    },
    /// SHOW name.
    Show(String),
    /// SHOW ALL.
    ShowAll,
    /// RESET name.
    Reset(String),
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL/PLANS/SEQUENCES/TEMP, lower case.
    Discard(String),
}

/// DECLARE.
#[derive(Clone, Debug)]
pub struct Declare {
    /// Cursor name.
    pub name: String,
    /// BINARY.
    pub binary: bool,
    /// SCROLL (true), NO SCROLL (false).
    pub scroll: Option<bool>,
    /// WITH HOLD.
    pub hold: bool,
    /// Its query.
    pub query: Box<Parsed>,
}

/// Where FETCH goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    /// n rows forward; 0: the current row again. `i64::MAX`: ALL.
    Forward(i64),
    /// n rows backward; `i64::MAX`: ALL.
    Backward(i64),
    /// ABSOLUTE n (FIRST is 1, LAST is −1)
    Absolute(i64),
    /// RELATIVE n
    Relative(i64),
}

/// FETCH or MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Cursor.
    pub cursor: String,
    /// Where to.
    pub direction: FetchDirection,
    /// MOVE: rows are not returned.
    pub move_only: bool,
}

/// COPY's other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// STDIN or STDOUT
    Client,
    /// A file on the server.
    File(String),
    /// PROGRAM '…'
    Program(String),
}

/// COPY.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What.
    pub source: CopySource,
    /// FROM (true) or TO.
    pub from: bool,
    /// The other side.
    pub end: CopyEnd,
    /// Options.
    pub options: CopyOptions,
    /// WHERE of COPY FROM.
    pub filter: Option<ast::Expr>,
}

/// What is copied.
#[derive(Clone, Debug)]
pub enum CopySource {
    /// A table and columns; empty: all.
    Table(ast::ObjectName, Vec<String>),
    /// A query.
    Query(Box<Parsed>),
}

/// COPY formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyFormat {
    /// text
    #[default]
    Text,
    /// csv
    Csv,
    /// binary
    Binary,
}

/// Column lists of COPY options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyColumns {
    /// `*`
    All,
    /// Names.
    List(Vec<String>),
}

/// COPY options, as given: `None` is the default of the format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// FORMAT
    pub format: CopyFormat,
    /// FREEZE: nothing to do here.
    pub freeze: bool,
    /// DELIMITER
    pub delimiter: Option<String>,
    /// NULL
    pub null: Option<String>,
    /// HEADER
    pub header: bool,
    /// HEADER MATCH
    pub header_match: bool,
    /// QUOTE
    pub quote: Option<String>,
    /// ESCAPE
    pub escape: Option<String>,
    /// FORCE_QUOTE
    pub force_quote: Option<CopyColumns>,
    /// FORCE_NOT_NULL
    pub force_not_null: Option<CopyColumns>,
    /// FORCE_NULL
    pub force_null: Option<CopyColumns>,
    /// ENCODING
    pub encoding: Option<String>,
}

/// EXPLAIN's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainOptions {
    /// ANALYZE
    pub analyze: bool,
    /// VERBOSE
    pub verbose: bool,
    /// COSTS
    pub costs: bool,
    /// TIMING
    pub timing: bool,
    /// SUMMARY
    pub summary: Option<bool>,
    /// BUFFERS, WAL, SETTINGS: nothing to show.
    pub buffers: bool,
    /// FORMAT JSON
    pub json: bool,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        ExplainOptions { analyze: false, verbose: false, costs: true, timing: true, summary: None, buffers: false, json: false }
    }
}
