//! Schema changes: what CREATE, ALTER, DROP, COMMENT and TRUNCATE do to the catalog.
//!
//! A statement changes descriptors in the transaction's [`CatalogChanges`] and answers with the work on rows that has to follow in
//! the same transaction ([`Job`]): filling an index, checking rows against a new constraint, rewriting a table. The session runs those,
//! since they are ordinary statements. So all DDL is transactional, inside savepoints too.
//!
//! ```text
//!   names        possibly qualified names → schema and name; choosing constraint and index names as PostgreSQL does
//!   table        CREATE TABLE
//!   constraint   keys, checks, foreign keys: for CREATE TABLE and ALTER TABLE alike
//!   alter        ALTER TABLE
//!   index        CREATE INDEX
//!   sequence     sequences, serial, identity
//!   remove       DROP, TRUNCATE and their CASCADE
//!   object       schemas, databases, roles, views, comments
//! ```

pub use object::scram_verifier;

mod alter;
mod constraint;
mod index;
mod like;
mod names;
mod object;
mod remove;
mod sequence;
mod table;

use sqlparser::ast;

use super::descriptor::*;
use super::snapshot::CatalogSnapshot;
use super::store::{CatalogChanges, CatalogStore};
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::{Ddl, Parsed};
use crate::types::DataType;

/// Most columns a table may have (PostgreSQL: 1600).
pub const MAX_COLUMNS: usize = 1600;
/// Most key columns of an index (PostgreSQL: 32).
pub const MAX_INDEX_COLUMNS: usize = 32;

/// Work on rows that a schema change leaves to the session, to be done in the same transaction, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Write the entries of an index for the rows that are there.
    Backfill { table: Oid, index: u32 },
    /// This query must give no row, else `error`.
    MustBeEmpty { query: String, error: Box<JobError> },
    /// Run a statement of ours.
    Run(String),
    /// Fill the copy of a table that is being rewritten; errors tell of `table`.
    Rewrite {
        /// The statement.
        sql: String,
        /// The table.
        table: Oid,
        /// Its copy.
        scratch: Oid,
    },
    /// `scratch` has been filled by the `Run` before: `table` takes over its rows and definition.
    Adopt { table: Oid, scratch: Oid },
    /// Set a sequence's state: value and whether it was used (`None`: never used, next is START).
    ResetSequence { sequence: Oid, last: Option<i64> },
}

/// Stands in a [`JobError`]'s DETAIL for the values that the query gave.
pub const VALUES: &str = "{values}";

/// The error of a failed check of existing rows.
#[derive(Clone, Debug, PartialEq)]
pub struct JobError {
    /// SQLSTATE.
    pub code: &'static str,
    /// Message.
    pub message: String,
    /// DETAIL.
    pub detail: Option<String>,
    /// Table, for the error's fields.
    pub table: Oid,
    /// Constraint.
    pub constraint: Option<String>,
    /// Column.
    pub column: Option<String>,
}

/// What binding must tell DDL. Implemented by the session over the planner, against the catalog as changed so far.
pub trait Analyzer: Sync {
    /// A type name: type and modifier.
    fn data_type(&self, catalog: &CatalogSnapshot, ty: &ast::DataType) -> Result<(DataType, i32)>;
    /// Checks an expression over the columns of `table` (none for a DEFAULT) and gives it back as text with every name qualified.
    /// `what` names the clause for error messages; `expected` is what it must be assignable to.
    fn expression(
        &self,
        catalog: &CatalogSnapshot,
        table: Option<&RelationDescriptor>,
        expr: &ast::Expr,
        expected: DataType,
        typmod: i32,
        what: &str,
    ) -> Result<String>;
    /// The constant value of an expression in text form, `None` if it is NULL; `Err(None)` if it is not constant.
    fn constant(&self, catalog: &CatalogSnapshot, expr: &ast::Expr, ty: DataType, typmod: i32) -> Result<Constant>;
    /// The columns of a query, its text with every name qualified, and the relations it reads.
    fn query(&self, catalog: &CatalogSnapshot, query: &Parsed) -> Result<QueryShape>;
}

/// Whether a default can be filled in without touching rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// The same value for every row, in text form.
    Value(Option<String>),
    /// Differs by row (volatile).
    Varies,
}

/// What a query yields.
#[derive(Clone, Debug)]
pub struct QueryShape {
    /// Column names, types, modifiers.
    pub columns: Vec<(String, DataType, i32)>,
    /// The text with names qualified.
    pub text: String,
    /// Relations it reads.
    pub depends_on: Vec<Oid>,
}

/// One DDL statement at work.
pub struct DdlRun<'a> {
    /// The catalog being changed.
    pub changes: &'a mut CatalogChanges,
    /// Gives OIDs.
    pub store: &'a CatalogStore,
    /// Binds expressions.
    pub analyzer: &'a dyn Analyzer,
    /// Current database.
    pub database: Oid,
    /// Effective search path: schema names.
    pub search_path: &'a [String],
    /// Current role.
    pub role: Oid,
    /// What the client is told besides the tag: severity and notice.
    pub notices: Vec<(&'static str, SqlError)>,
    /// What remains to be done.
    pub jobs: Vec<Job>,
}

impl DdlRun<'_> {
    /// Carries out `ddl`; answers with the command tag.
    pub async fn execute(&mut self, ddl: &Ddl) -> Result<String> {
        match ddl {
            Ddl::Ast { ast, query, no_data, likes, .. } => match &**ast {
                ast::Statement::CreateTable(create) => self.create_table(create, query.as_deref(), *no_data, likes).await,
                tree => self.tree(tree, query.as_deref()).await,
            },
            Ddl::AlterTable { object, if_exists, name, actions } => {
                self.alter_relation(*object, *if_exists, name, actions).await?;
                Ok(format!("ALTER {}", relation_word(*object)))
            }
            Ddl::AlterSequence { if_exists, name, options } => {
                self.alter_sequence(*if_exists, name, options)?;
                Ok("ALTER SEQUENCE".into())
            }
            Ddl::CreateRole { user, name, options } => {
                self.create_role(*user, name, options).await?;
                Ok("CREATE ROLE".into())
            }
            Ddl::AlterRole { name, options } => {
                self.alter_role(name, options)?;
                Ok("ALTER ROLE".into())
            }
            Ddl::RenameRole { name, to } => {
                self.rename_role(name, to)?;
                Ok("ALTER ROLE".into())
            }
            Ddl::DropRole { if_exists, names } => {
                self.drop_roles(*if_exists, names)?;
                Ok("DROP ROLE".into())
            }
            Ddl::CreateDatabase { name, if_not_exists, options } => {
                self.create_database(name, *if_not_exists, options).await?;
                Ok("CREATE DATABASE".into())
            }
            Ddl::DropDatabase { if_exists, name, .. } => {
                self.drop_database(*if_exists, name)?;
                Ok("DROP DATABASE".into())
            }
            Ddl::AlterDatabase { name, action } => {
                self.alter_database(name, action)?;
                Ok("ALTER DATABASE".into())
            }
            Ddl::AlterSchema { name, action } => {
                self.alter_schema(name, action)?;
                Ok("ALTER SCHEMA".into())
            }
            Ddl::Comment { object, name, on, comment } => {
                self.comment(object, name, on.as_ref(), comment.clone())?;
                Ok("COMMENT".into())
            }
            Ddl::SplitAt { .. } => Err(SqlError::internal("SPLIT AT is not a catalog change")),
        }
    }

    async fn tree(&mut self, tree: &ast::Statement, query: Option<&Parsed>) -> Result<String> {
        match tree {
            ast::Statement::CreateIndex(create) => {
                self.create_index(create).await?;
                Ok("CREATE INDEX".into())
            }
            ast::Statement::CreateView(create) => {
                self.create_view(create, query).await?;
                Ok("CREATE VIEW".into())
            }
            ast::Statement::CreateSequence { temporary, if_not_exists, name, sequence_options } => {
                if *temporary {
                    return Err(SqlError::unsupported("CREATE TEMPORARY SEQUENCE"));
                }
                self.create_sequence(*if_not_exists, name, sequence_options).await?;
                Ok("CREATE SEQUENCE".into())
            }
            ast::Statement::CreateSchema { schema_name, if_not_exists, .. } => {
                self.create_schema(schema_name, *if_not_exists).await?;
                Ok("CREATE SCHEMA".into())
            }
            ast::Statement::Drop { object_type, if_exists, names, cascade, .. } => {
                self.drop_objects(object_type, *if_exists, names, *cascade)
            }
            ast::Statement::Truncate(truncate) => {
                self.truncate(truncate).await?;
                Ok("TRUNCATE TABLE".into())
            }
            other => Err(SqlError::unsupported(first_words(&other.to_string()))),
        }
    }

    /// The catalog as changed so far.
    fn catalog(&self) -> &CatalogSnapshot {
        self.changes.snapshot()
    }

    /// Tells the client something. As in PostgreSQL, what is skipped because it is not there comes without a code of its own.
    fn notice(&mut self, code: SqlState, message: String) {
        let absent = message.ends_with("does not exist, skipping") || message.ends_with("is not an identity column, skipping");
        let code = if absent { SqlState::SUCCESS } else { code };
        self.notices.push(("NOTICE", SqlError::new(code, message)));
    }
}

fn relation_word(word: crate::front::statement::RelationWord) -> &'static str {
    use crate::front::statement::RelationWord;
    match word {
        RelationWord::Table => "TABLE",
        RelationWord::Index => "INDEX",
        RelationWord::View => "VIEW",
        RelationWord::Sequence => "SEQUENCE",
    }
}

/// The feature's name for a `0A000`: the leading keywords of the statement.
fn first_words(text: &str) -> String {
    text.split_whitespace().take_while(|w| w.chars().all(|c| c.is_ascii_uppercase())).take(3).collect::<Vec<_>>().join(" ")
}
