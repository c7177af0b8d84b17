//! Statements that make their rows themselves, and settings: SET, SHOW, RESET, DISCARD, LOCK, SHOW RANGES.

use std::sync::Arc;

use meridian_clock::Timestamp;
use meridian_storage::Span;
use sqlparser::ast;

use super::api::{Field, Format, ResultSink};
use super::transaction::{BeginOptions, level, level_named};
use super::{Session, settings};
use crate::catalog::descriptor::RelationDescriptor;
use crate::catalog::keys;
use crate::error::{Result, SqlError, SqlState};
use crate::front::{self, Parsed, Statement, TransactionModes};
use crate::types::{DataType, Datum, NO_TYPMOD};

/// A field of a result that no table stands behind.
pub(super) fn field(name: &str, ty: DataType) -> Field {
    Field { name: name.to_owned(), table: 0, column: 0, ty, typmod: NO_TYPMOD, format: Format::Text }
}

/// A text value.
pub(super) fn text(value: impl AsRef<str>) -> Datum {
    Datum::Text(Arc::from(value.as_ref()))
}

/// The result columns of a statement without a plan; `None` if it returns no rows.
pub(super) fn fields(session: &Session, parsed: &Parsed) -> Option<Arc<[Field]>> {
    match &parsed.statement {
        Statement::Session(front::Session::Show(name)) => Some(Arc::from([field(show_name(name), DataType::TEXT)])),
        Statement::Session(front::Session::ShowAll) => Some(show_all_fields()),
        Statement::Explain(options, _) => Some(super::explain::fields(options)),
        Statement::ShowRanges { .. } => Some(range_fields()),
        Statement::Fetch(fetch) if !fetch.move_only => session.portals.get(&fetch.cursor).and_then(|p| p.fields.clone()),
        _ => None,
    }
}

fn show_name(name: &str) -> &str {
    settings::definition(name).map_or(name, |d| d.name)
}

fn show_all_fields() -> Arc<[Field]> {
    Arc::from(["name", "setting", "description"].map(|n| field(n, DataType::TEXT)))
}

fn range_fields() -> Arc<[Field]> {
    Arc::from([
        field("range_id", DataType::INT8),
        field("start_key", DataType::TEXT),
        field("end_key", DataType::TEXT),
        field("leaseholder", DataType::INT4),
        field("replicas", DataType::TEXT),
    ])
}

impl Session {
    /// SET, SHOW, RESET, DISCARD.
    pub(super) async fn setting_statement(&mut self, statement: &front::Session, sink: &mut dyn ResultSink) -> Result<()> {
        match statement {
            front::Session::Set { name, value, local, .. } => {
                if *local && !self.txn.as_ref().is_some_and(|t| t.explicit) {
                    let warning = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "SET LOCAL can only be used in transaction blocks");
                    self.send_notices(vec![("WARNING", warning)], sink).await?;
                }
                let reported = self.apply_setting(name, value.as_deref(), *local)?;
                self.report(reported, sink).await?;
                sink.complete("SET").await
            }
            front::Session::Show(name) => {
                let value = self.shown(name)?;
                sink.begin(&Arc::from([field(show_name(name), DataType::TEXT)])).await?;
                sink.rows(&[text(value)], self.io()).await?;
                sink.complete("SHOW").await
            }
            front::Session::ShowAll => {
                sink.begin(&show_all_fields()).await?;
                for (name, value) in self.env.settings.all() {
                    let about = settings::definition(&name).map_or("", |d| d.about);
                    sink.rows(&[text(&name), text(&value), text(about)], self.io()).await?;
                }
                sink.complete("SHOW").await
            }
            front::Session::Reset(name) => {
                let reported = self.apply_setting(name, None, false)?;
                self.report(reported, sink).await?;
                sink.complete("RESET").await
            }
            front::Session::ResetAll => {
                self.env.settings.reset_all();
                self.env.refresh();
                for (name, value) in self.env.settings.reported() {
                    sink.parameter(&name, &value).await?;
                }
                sink.complete("RESET").await
            }
            front::Session::Discard(what) => self.discard(what, sink).await,
        }
    }

    async fn discard(&mut self, what: &str, sink: &mut dyn ResultSink) -> Result<()> {
        match what {
            "all" => {
                if self.txn.as_ref().is_some_and(|t| t.explicit) {
                    return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "DISCARD ALL cannot run inside a transaction block"));
                }
                self.portals.clear();
                self.statements.clear();
                if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
                    entry.prepared.clear();
                    entry.cursors.clear();
                }
                self.env.sequences = Default::default();
                self.env.functions.advisory.unlock_all().await?;
                self.env.settings.reset_all();
                self.env.refresh();
            }
            "sequences" => self.env.sequences = Default::default(),
            // Plans are checked against the catalog at each use, and there are no temporary tables: nothing is held that could be stale.
            _ => {}
        }
        sink.complete(&format!("DISCARD {}", what.to_ascii_uppercase())).await
    }

    /// Sets (`None`: resets) a setting; answers with its name if clients are told of it.
    pub(super) fn apply_setting(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Option<String>> {
        if let Some(transaction_setting) = self.transaction_setting(name, value)? {
            return Ok(transaction_setting);
        }
        if local {
            let before = self.env.settings.get(name).unwrap_or_default();
            self.local_settings.entry(name.to_owned()).or_insert(before);
        } else {
            self.local_settings.remove(name);
        }
        let (canonical, reported) = match value {
            Some(value) => self.env.settings.set(name, value)?,
            None => self.env.settings.reset(name)?,
        };
        self.env.refresh();
        if canonical == "application_name"
            && let Some(entry) = self.db.sessions.lock().get_mut(&self.pid)
        {
            entry.application = self.env.settings.get("application_name").unwrap_or_default();
        }
        Ok(reported.then_some(canonical))
    }

    /// `SET transaction_isolation` and friends act on the open transaction.
    fn transaction_setting(&mut self, name: &str, value: Option<&str>) -> Result<Option<Option<String>>> {
        let Some(value) = value else { return Ok(None) };
        let switch = |name: &str| match settings::boolean(value) {
            Some(on) => Ok(on),
            None => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("parameter \"{name}\" requires a Boolean value"))),
        };
        let options = match name.to_ascii_lowercase().as_str() {
            "transaction_read_only" => BeginOptions { read_only: Some(switch("transaction_read_only")?), ..Default::default() },
            "transaction_deferrable" => BeginOptions { deferrable: Some(switch("transaction_deferrable")?), ..Default::default() },
            "transaction_isolation" => match level_named(value) {
                Some(level) => BeginOptions { level: Some(level), ..Default::default() },
                // The setting's own definition words the error.
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.change_modes(&options)?;
        Ok(Some(None))
    }

    async fn report(&mut self, reported: Option<String>, sink: &mut dyn ResultSink) -> Result<()> {
        if let Some(name) = reported {
            let value = self.env.settings.get(&name)?;
            sink.parameter(&name, &value).await?;
        }
        Ok(())
    }

    /// What SHOW prints.
    pub(super) fn shown(&self, name: &str) -> Result<String> {
        match (name.to_ascii_lowercase().as_str(), &self.txn) {
            ("transaction_isolation", Some(txn)) => Ok(txn.level.into()),
            ("transaction_isolation", None) => self.env.settings.get("default_transaction_isolation"),
            ("transaction_read_only", Some(txn)) => Ok(if txn.read_only { "on" } else { "off" }.into()),
            ("transaction_read_only", None) => self.env.settings.get("default_transaction_read_only"),
            ("transaction_deferrable", Some(txn)) => Ok(if txn.deferrable { "on" } else { "off" }.into()),
            ("transaction_deferrable", None) => self.env.settings.get("default_transaction_deferrable"),
            _ => self.env.settings.get(name),
        }
    }

    /// SET SESSION CHARACTERISTICS.
    pub(super) fn set_transaction_defaults(&mut self, modes: &TransactionModes) -> Result<()> {
        if let Some(isolation) = modes.isolation {
            self.apply_setting("default_transaction_isolation", Some(level(isolation)), false)?;
        }
        if let Some(read_only) = modes.read_only {
            self.apply_setting("default_transaction_read_only", Some(if read_only { "on" } else { "off" }), false)?;
        }
        if let Some(deferrable) = modes.deferrable {
            self.apply_setting("default_transaction_deferrable", Some(if deferrable { "on" } else { "off" }), false)?;
        }
        Ok(())
    }

    /// Replaces an untouched implicit transaction, or begins one.
    pub(super) async fn replace_transaction(&mut self, options: &BeginOptions) {
        let explicit = self.txn.as_ref().is_some_and(|t| t.explicit);
        if let Some(txn) = &mut self.txn {
            txn.kv.rollback().await;
        }
        let txn = self.new_transaction(explicit, options);
        self.txn = Some(txn);
    }

    /// The time that one of the functions for reads nearby means; `None` if it is another function.
    ///
    /// `follower_read_timestamp()` is old enough for every replica. `with_max_staleness` and `with_min_timestamp` are as fresh as this node can be
    /// without asking another, but never older than they say: if this node is further behind, the leaseholders are asked at the bound.
    fn nearby_time(&self, call: &ast::Function) -> Result<Option<Timestamp>> {
        let name = call.name.to_string().to_ascii_lowercase();
        let arguments: Vec<String> = match &call.args {
            ast::FunctionArguments::List(list) => list.args.iter().map(ToString::to_string).collect(),
            _ => vec![],
        };
        let wrong = |usage: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("AS OF SYSTEM TIME: write {usage}")));
        let sql = match (name.as_str(), &arguments[..]) {
            ("follower_read_timestamp", []) => return Ok(Some(self.db.kv.follower_read_timestamp())),
            ("follower_read_timestamp", _) => return wrong("follower_read_timestamp()"),
            ("with_max_staleness", [interval]) => format!("SELECT extract(epoch FROM (now() - ({interval})::interval))::float8"),
            ("with_max_staleness", _) => return wrong("with_max_staleness(interval)"),
            ("with_min_timestamp", [time]) => format!("SELECT extract(epoch FROM ({time})::timestamptz)::float8"),
            ("with_min_timestamp", _) => return wrong("with_min_timestamp(timestamp)"),
            _ => return Ok(None),
        };
        let seconds = self.constant_float(&self.db.catalog.latest(), &sql)?;
        let (bound, now) = (Timestamp::from_unix_nanos((seconds * 1e9).max(0.0) as u64), self.db.kv.now());
        if bound > now {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "AS OF SYSTEM TIME: cannot read the future"));
        }
        Ok(Some(self.db.kv.closed_nearby().max(bound).min(now)))
    }

    /// The time that an `AS OF SYSTEM TIME` expression means: a timestamp, a negative interval, decimal HLC nanoseconds, or a function for reads nearby.
    pub(super) async fn system_time(&mut self, expr: &ast::Expr) -> Result<Timestamp> {
        let invalid = |text: &str| {
            let message = format!("AS OF SYSTEM TIME: invalid time \"{text}\"");
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint("Give a timestamp, a negative interval, nanoseconds since 1970, follower_read_timestamp(), with_max_staleness() or with_min_timestamp().")
        };
        let now = self.db.kv.now();
        if let ast::Expr::Function(call) = expr
            && let Some(at) = self.nearby_time(call)?
        {
            return Ok(at);
        }
        let source = expr.to_string();
        let literal = source.trim_matches('\'').to_owned();
        let at = if literal.chars().all(|c| c.is_ascii_digit() || c == '.') && !literal.is_empty() {
            let nanos = literal.split('.').next().and_then(|n| n.parse().ok()).ok_or_else(|| invalid(&literal))?;
            Timestamp::from_unix_nanos(nanos)
        } else {
            let as_interval = literal.trim_start().starts_with('-') && source.starts_with('\'');
            let sql = if as_interval {
                format!("SELECT extract(epoch FROM (now() + {source}::interval))::float8")
            } else {
                format!("SELECT extract(epoch FROM ({source})::timestamptz)::float8")
            };
            // A constant: the catalog as known here will do, and asking for the present one might be a trip around the world.
            let seconds = self.constant_float(&self.db.catalog.latest(), &sql).map_err(|_| invalid(&literal))?;
            Timestamp::from_unix_nanos((seconds * 1e9).max(0.0) as u64)
        };
        if at > now {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "AS OF SYSTEM TIME: cannot read the future"));
        }
        Ok(at)
    }

    /// LOCK TABLE. Nobody holds table locks here, so one could not be honoured: refused rather than ignored.
    pub(super) async fn lock_tables(&mut self, tables: &[ast::ObjectName]) -> Result<()> {
        if !self.txn.as_ref().is_some_and(|t| t.explicit) {
            return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "LOCK TABLE can only be used in transaction blocks"));
        }
        for table in tables {
            self.relation(table).await?;
        }
        Err(SqlError::unsupported("LOCK TABLE")
            .hint("Transactions are serializable without table locks; lock rows with SELECT … FOR UPDATE."))
    }

    /// SHOW RANGES.
    pub(super) async fn show_ranges(
        &mut self,
        table: Option<&ast::ObjectName>,
        index: Option<&str>,
        sink: &mut dyn ResultSink,
    ) -> Result<()> {
        let span = match table {
            None => Span::all(),
            Some(name) => {
                let relation = self.relation(name).await?;
                let Some(t) = relation.table() else {
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", relation.name)));
                };
                match index {
                    None => Span::prefix(keys::table_prefix(t.storage_id)),
                    Some(index) => {
                        let found = t
                            .all_indexes()
                            .find(|i| i.name == index)
                            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("index \"{index}\" does not exist")))?;
                        Span::prefix(keys::index_prefix(t.storage_id, found.id))
                    }
                }
            }
        };
        let ranges = self.db.kv.ranges(span).await?;
        sink.begin(&range_fields()).await?;
        let count = ranges.len();
        for range in ranges {
            let replicas: Vec<String> = range.descriptor.replicas.iter().map(|r| r.node.0.to_string()).collect();
            let row = [
                Datum::Int8(range.descriptor.id.0 as i64),
                text(hex(&range.descriptor.span.start)),
                text(hex(&range.descriptor.span.end)),
                range.leaseholder.map_or(Datum::Null, |n| Datum::Int4(n.0 as i32)),
                text(format!("{{{}}}", replicas.join(","))),
            ];
            sink.rows(&row, self.io()).await?;
        }
        sink.complete(&format!("SHOW {count}")).await
    }

    /// A relation by name, along the search path.
    pub(super) async fn relation(&mut self, name: &ast::ObjectName) -> Result<Arc<RelationDescriptor>> {
        let catalog = self.catalog().await?;
        let parts: Vec<String> = name.0.iter().map(|p| p.to_string().trim_matches('"').to_owned()).collect();
        let (schema, last) = match parts.as_slice() {
            [last] => (None, last),
            [schema, last] | [_, schema, last] => (Some(schema.as_str()), last),
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("improper relation name: {}", parts.join(".")))),
        };
        let find = |schema: &str| catalog.relation_named(catalog.schema_named(self.database, schema)?, last).cloned();
        let found = match schema {
            Some(schema) => find(schema),
            None => self.env.view.search_path.iter().find_map(|s| find(s)),
        };
        found.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", parts.join("."))))
    }

    /// A relation's qualified name as SQL text.
    pub(super) fn qualified_name(&self, catalog: &crate::catalog::snapshot::CatalogSnapshot, relation: &RelationDescriptor) -> String {
        let quote = |s: &str| format!("\"{}\"", s.replace('"', "\"\""));
        let schema = catalog.schemas.get(&relation.schema).map(|s| s.name.clone()).unwrap_or_default();
        format!("{}.{}", quote(&schema), quote(&relation.name))
    }
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|b| format!("{b:02x}")).collect()
}
