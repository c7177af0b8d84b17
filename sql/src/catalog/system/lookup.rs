//! What functions and casts ask the catalog: names and OIDs, definitions, and everything that `functions::system` routes here by name.
//!
//! Sizes are estimates, rows of the last `ANALYZE` times the columns' usual width: ranges are shared between tables and compressed, so no
//! table has a size of its own on disk.

use std::sync::Arc;

use super::attributes::default_oid;
use super::definitions;
use super::fixed;
use super::privileges;
use super::view::{Class, Constraint, View, shown_columns, shown_indexes};
use crate::catalog::descriptor::*;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::{CatalogLookup, SessionView, all_operators, function_by_oid, functions_named, operators_named, quote_ident};
use crate::types::{DataType, Datum};

/// The catalog as one session's functions see it.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub(super) view: View,
    /// Current user's name.
    pub(super) user: String,
}

impl Lookup {
    /// At one moment, in one database, with the default search path and no user.
    pub fn new(catalog: Arc<CatalogSnapshot>, database: Oid) -> Self {
        let search_path = vec!["pg_catalog".to_owned(), "public".to_owned()];
        Lookup { view: View { catalog, database, search_path }, user: String::new() }
    }

    /// As a session sees it: its search path decides what is visible, its user is the one whose privileges are asked for.
    pub fn for_session(mut self, session: &SessionView) -> Self {
        self.view.search_path.clone_from(&session.search_path);
        self.user.clone_from(&session.user);
        self
    }

    /// With another search path than the session's.
    fn with_path(&self, search_path: &[String]) -> std::borrow::Cow<'_, View> {
        if self.view.search_path == search_path {
            return std::borrow::Cow::Borrowed(&self.view);
        }
        std::borrow::Cow::Owned(View { search_path: search_path.to_vec(), ..self.view.clone() })
    }
}

impl CatalogLookup for Lookup {
    fn relation_oid(&self, name: &str, search_path: &[String]) -> Option<u32> {
        self.with_path(search_path).find(name)
    }

    fn relation_name(&self, oid: u32, search_path: &[String]) -> Option<String> {
        self.with_path(search_path).shown_name(oid)
    }

    fn schema_oid(&self, name: &str) -> Option<u32> {
        self.view.catalog.schema_named(self.view.database, name)
    }

    fn schema_name(&self, oid: u32) -> Option<String> {
        self.view.schema_name(oid).map(str::to_owned)
    }

    fn role_oid(&self, name: &str) -> Option<u32> {
        self.view.catalog.roles.values().find(|r| r.name == name).map(|r| r.id)
    }

    fn role_name(&self, oid: u32) -> Option<String> {
        self.view.role_name(oid).map(str::to_owned)
    }

    fn definition(&self, what: &str, oid: u32, column: i32) -> Option<String> {
        definitions::definition(&self.view, what, oid, column)
    }

    fn system_function(&self, name: &str, args: &[Datum]) -> Option<Result<Datum>> {
        if name.starts_with("has_") || name == "pg_has_role" {
            return Some(privileges::ask(self, name, args));
        }
        let oid = || args.first().and_then(Datum::as_oid).unwrap_or(0);
        let text = |i: usize| args.get(i).and_then(Datum::as_str).unwrap_or_default();
        let maybe = |text: Option<String>| Ok(text.map_or(Datum::Null, Datum::text));
        let exists = |there: bool| Ok(if there { Datum::Bool(true) } else { Datum::Null });
        Some(match name {
            "pg_table_is_visible" => Ok(self.view.class(oid()).map_or(Datum::Null, |c| Datum::Bool(self.view.is_visible(&c, oid())))),
            // Everything of these kinds is in pg_catalog, which is in every search path.
            "pg_type_is_visible" => exists(DataType(oid()).info().is_some()),
            "pg_function_is_visible" => exists(fixed::proc_name(oid()).is_some()),
            "pg_operator_is_visible" => exists(all_operators().any(|o| o.oid == oid())),
            "pg_opclass_is_visible" => exists(has_row("pg_opclass", oid())),
            "pg_opfamily_is_visible" => exists(has_row("pg_opfamily", oid())),
            "pg_collation_is_visible" => exists(matches!(oid(), 100 | 950 | 951)),
            "pg_conversion_is_visible"
            | "pg_statistics_obj_is_visible"
            | "pg_ts_config_is_visible"
            | "pg_ts_dict_is_visible"
            | "pg_ts_parser_is_visible"
            | "pg_ts_template_is_visible" => Ok(Datum::Null),
            "pg_get_expr" => {
                let columns = match self.view.class(args.get(1).and_then(Datum::as_oid).unwrap_or(0)) {
                    Some(Class::Relation(r)) => shown_columns(r),
                    _ => vec![],
                };
                Ok(Datum::text(self.view.print(&columns, true, |p| p.expression(text(0)))))
            }
            "pg_index_column_has_property" => Ok(self.index_property(oid(), number(args, 1), text(2))),
            "obj_description" => maybe(self.description(oid(), args.get(1).and_then(Datum::as_str))),
            "col_description" => maybe(self.column_comment(oid(), number(args, 1))),
            "shobj_description" => maybe(self.shared_description(oid(), text(1))),
            "pg_relation_size" | "pg_table_size" => Ok(self.relation_size(oid())),
            "pg_indexes_size" => Ok(self.indexes_size(oid())),
            "pg_total_relation_size" => Ok(match (self.relation_size(oid()), self.indexes_size(oid())) {
                (Datum::Int8(table), Datum::Int8(indexes)) => Datum::Int8(table.saturating_add(indexes)),
                (size, _) => size,
            }),
            "pg_database_size" => self.database_size(args.first()),
            "pg_tablespace_size" => self.tablespace_size(args.first()),
            "pg_tablespace_location" => Ok(Datum::text("")),
            "pg_get_serial_sequence" => self.serial_sequence(text(0), text(1)),
            "pg_get_function_arguments" => maybe(definitions::function_arguments(oid(), false)),
            "pg_get_function_identity_arguments" => maybe(definitions::function_arguments(oid(), true)),
            "pg_get_function_result" => maybe(definitions::function_result(oid())),
            // No partitions and no extended statistics.
            "pg_get_partkeydef" | "pg_get_statisticsobjdef_columns" | "pg_get_partition_constraintdef" => Ok(Datum::Null),
            "pg_relation_is_publishable" => Ok(Datum::Bool(false)),
            "pg_relation_filenode" => Ok(self.storage_of(oid()).map_or(Datum::Null, Datum::Oid)),
            "pg_filenode_relation" => {
                let storage = args.get(1).and_then(Datum::as_oid);
                Ok(self.view.tables().find(|(_, t)| Some(t.storage_id) == storage).map_or(Datum::Null, |(r, _)| Datum::Oid(r.id)))
            }
            "pg_describe_object" => maybe(self.describe(oid(), args.get(1).and_then(Datum::as_oid).unwrap_or(0), number(args, 2))),
            "pg_relation_is_updatable" => Ok(Datum::Int4(if self.is_table(oid()) { 28 } else { 0 })),
            "pg_column_is_updatable" => Ok(Datum::Bool(self.is_table(oid()) && number(args, 1) > 0)),
            "pg_sequence_parameters" => self.sequence_parameters(oid()),
            "row_security_active" | "pg_is_in_recovery" | "pg_is_other_temp_schema" => Ok(Datum::Bool(false)),
            "pg_my_temp_schema" => Ok(Datum::Oid(0)),
            "pg_stat_get_live_tuples" => Ok(Datum::Int8(self.rows(oid()))),
            "pg_stat_get_dead_tuples" => Ok(Datum::Int8(0)),
            "regprocin" | "regprocedurein" | "regoperin" | "regoperatorin" => return registry_in(name, text(0)),
            "regprocout" | "regprocedureout" | "regoperout" | "regoperatorout" => {
                return registry_out(name, oid()).map(|text| Ok(Datum::text(text)));
            }
            _ => return None,
        })
    }
}

/// An integer argument.
fn number(args: &[Datum], i: usize) -> i64 {
    args.get(i).and_then(Datum::as_i64).unwrap_or(0)
}

fn has_row(table: &str, oid: Oid) -> bool {
    fixed::rows(table).unwrap_or(&[]).iter().any(|r| r.first().and_then(Datum::as_oid) == Some(oid))
}

impl Lookup {
    /// `pg_index_column_has_property`.
    fn index_property(&self, oid: Oid, column: i64, property: &str) -> Datum {
        let Some(Class::Index(_, _, index)) = self.view.class(oid) else { return Datum::Null };
        let Some(position) = usize::try_from(column).ok().and_then(|n| n.checked_sub(1)) else { return Datum::Null };
        let included = position.checked_sub(index.keys.len()).is_some_and(|i| i < index.include.len());
        let key = match index.keys.get(position) {
            Some(key) => Some(key),
            None if included => None,
            None => return Datum::Null,
        };
        Datum::Bool(match (property.to_ascii_lowercase().as_str(), key) {
            ("asc", Some(key)) => !key.descending,
            ("desc", Some(key)) => key.descending,
            ("nulls_first", Some(key)) => key.nulls_first,
            ("nulls_last", Some(key)) => !key.nulls_first,
            ("orderable" | "search_array" | "search_nulls", key) => key.is_some(),
            ("distance_orderable", _) => false,
            ("returnable", _) => true,
            _ => return Datum::Null,
        })
    }

    fn is_table(&self, oid: Oid) -> bool {
        matches!(self.view.class(oid), Some(Class::Relation(r)) if r.table().is_some())
    }

    fn storage_of(&self, oid: Oid) -> Option<Oid> {
        match self.view.class(oid)? {
            Class::Relation(r) => r.table().map(|t| t.storage_id).or(Some(r.id)).filter(|_| !matches!(r.kind, RelationKind::View(_))),
            Class::Index(_, _, index) => Some(index.oid),
            Class::System(_) => None,
        }
    }

    /// The comment on an object of the current database.
    fn description(&self, oid: Oid, class: Option<&str>) -> Option<String> {
        let asked = |name: &str| class.is_none_or(|c| c == name);
        if asked("pg_class")
            && let Some(Class::Relation(r)) = self.view.class(oid)
        {
            return r.comment.clone();
        }
        if asked("pg_namespace")
            && let Some((.., comment)) = self.view.schemas().into_iter().find(|s| s.0 == oid)
        {
            return comment.map(str::to_owned);
        }
        let class_oid = match class {
            Some(name) => Some(fixed::relation_named(name)?.oid),
            None => None,
        };
        let row = fixed::rows("pg_description")?.iter().find(|r| {
            r.first().and_then(Datum::as_oid) == Some(oid) && class_oid.is_none_or(|c| r.get(1).and_then(Datum::as_oid) == Some(c))
        })?;
        row.get(3)?.as_str().map(str::to_owned)
    }

    fn column_comment(&self, oid: Oid, column: i64) -> Option<String> {
        match self.view.class(oid)? {
            Class::Relation(r) => shown_columns(r).into_iter().find(|c| i64::from(c.id) == column)?.comment,
            _ => None,
        }
    }

    fn shared_description(&self, oid: Oid, class: &str) -> Option<String> {
        match class {
            "pg_database" => self.view.catalog.databases.get(&oid)?.comment.clone(),
            _ => None,
        }
    }

    /// Rows at the last ANALYZE.
    pub(super) fn rows(&self, oid: Oid) -> i64 {
        self.view.catalog.row_counts.get(&oid).map_or(0, |rows| i64::try_from(*rows).unwrap_or(i64::MAX))
    }

    fn relation_size(&self, oid: Oid) -> Datum {
        match self.view.class(oid) {
            Some(Class::Relation(r)) => Datum::Int8(r.table().map_or(0, |t| self.rows(oid).saturating_mul(width(&t.columns)))),
            Some(Class::Index(r, t, index)) => {
                let keys: Vec<ColumnDescriptor> = index.keys.iter().filter_map(|k| t.column(k.column).cloned()).collect();
                Datum::Int8(self.rows(r.id).saturating_mul(width(&keys)))
            }
            Some(Class::System(_)) => Datum::Int8(0),
            None => Datum::Null,
        }
    }

    fn indexes_size(&self, oid: Oid) -> Datum {
        match self.view.class(oid) {
            Some(Class::Relation(RelationDescriptor { kind: RelationKind::Table(t), .. })) => {
                // The primary index is the table itself.
                let sizes = shown_indexes(t).filter(|i| i.oid != t.primary.oid).map(|i| self.relation_size(i.oid).as_i64().unwrap_or(0));
                Datum::Int8(sizes.fold(0, i64::saturating_add))
            }
            Some(_) => Datum::Int8(0),
            None => Datum::Null,
        }
    }

    fn size_of_database(&self, database: Oid) -> i64 {
        let other = Lookup { view: View { database, ..self.view.clone() }, ..self.clone() };
        let size = |oid| other.relation_size(oid).as_i64().unwrap_or(0).saturating_add(other.indexes_size(oid).as_i64().unwrap_or(0));
        other.view.relations().map(|r| size(r.id)).fold(0, i64::saturating_add)
    }

    fn database_size(&self, which: Option<&Datum>) -> Result<Datum> {
        let databases = &self.view.catalog.databases;
        let found = match which {
            Some(Datum::Text(name)) => databases
                .values()
                .find(|d| d.name.as_str() == &**name)
                .map(|d| Some(d.id))
                .ok_or_else(|| SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist")))?,
            Some(Datum::Oid(oid)) => databases.get(oid).map(|d| d.id),
            _ => None,
        };
        Ok(found.map_or(Datum::Null, |oid| Datum::Int8(self.size_of_database(oid))))
    }

    fn tablespace_size(&self, which: Option<&Datum>) -> Result<Datum> {
        match which {
            Some(Datum::Oid(1663)) => {}
            Some(Datum::Oid(1664)) => return Ok(Datum::Int8(0)),
            Some(Datum::Text(name)) if &**name == "pg_default" => {}
            Some(Datum::Text(name)) if &**name == "pg_global" => return Ok(Datum::Int8(0)),
            Some(Datum::Text(name)) => {
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("tablespace \"{name}\" does not exist")));
            }
            _ => return Ok(Datum::Null),
        }
        Ok(Datum::Int8(self.view.catalog.databases.keys().map(|d| self.size_of_database(*d)).fold(0, i64::saturating_add)))
    }

    fn serial_sequence(&self, table: &str, column: &str) -> Result<Datum> {
        let missing = || SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{table}\" does not exist"));
        let Some(Class::Relation(relation)) = self.view.find(table).and_then(|oid| self.view.class(oid)) else { return Err(missing()) };
        let found = shown_columns(relation).into_iter().find(|c| c.name == column).ok_or_else(|| {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", relation.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })?;
        let sequence = found.owned_sequence.and_then(|oid| self.view.class(oid));
        Ok(sequence.map_or(Datum::Null, |class| Datum::text(self.view.qualified_name(&class))))
    }

    fn sequence_parameters(&self, oid: Oid) -> Result<Datum> {
        match self.view.class(oid) {
            Some(Class::Relation(RelationDescriptor { kind: RelationKind::Sequence(s), .. })) => Ok(Datum::Record(Arc::from([
                Datum::Int8(s.start),
                Datum::Int8(s.min),
                Datum::Int8(s.max),
                Datum::Int8(s.increment),
                Datum::Bool(s.cycle),
                Datum::Int8(s.cache),
                Datum::Oid(s.ty.0),
            ]))),
            _ => Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("sequence with OID {oid} does not exist"))),
        }
    }

    /// `pg_describe_object`.
    fn describe(&self, class: Oid, oid: Oid, column: i64) -> Option<String> {
        match fixed::relation_by_oid(class)?.name {
            "pg_class" => {
                let found = self.view.class(oid)?;
                let kind = match &found {
                    Class::Index(..) => "index",
                    Class::Relation(r) => match r.kind {
                        RelationKind::Table(_) => "table",
                        RelationKind::View(_) => "view",
                        RelationKind::Sequence(_) => "sequence",
                    },
                    Class::System(r) if r.kind == 'v' => "view",
                    Class::System(_) => "table",
                };
                let name = format!("{kind} {}", self.view.shown_name(oid)?);
                if column == 0 {
                    return Some(name);
                }
                let column_name = match &found {
                    Class::Relation(r) => shown_columns(r).into_iter().find(|c| i64::from(c.id) == column)?.name,
                    Class::System(r) => r.columns.get(usize::try_from(column).ok()?.checked_sub(1)?)?.0.to_owned(),
                    Class::Index(..) => return None,
                };
                Some(format!("column {} of {name}", quote_ident(&column_name)))
            }
            "pg_namespace" => Some(format!("schema {}", quote_ident(self.view.schema_name(oid)?))),
            "pg_authid" => Some(format!("role {}", quote_ident(self.view.role_name(oid)?))),
            "pg_database" => Some(format!("database {}", quote_ident(&self.view.catalog.databases.get(&oid)?.name))),
            "pg_type" => Some(format!("type {}", DataType(oid).info().map(|_| DataType(oid).name())?)),
            "pg_proc" => Some(format!("function {}", registry_out("regprocedureout", oid)?)),
            "pg_operator" => Some(format!("operator {}", registry_out("regoperatorout", oid)?)),
            "pg_attrdef" => {
                let (r, t) = self.view.tables().find(|(r, t)| t.columns.iter().any(|c| default_oid(r.id, c.id) == oid))?;
                let column = t.columns.iter().find(|c| default_oid(r.id, c.id) == oid)?;
                Some(format!("default value for column {} of table {}", quote_ident(&column.name), self.view.shown_name(r.id)?))
            }
            "pg_rewrite" => Some(format!("rule _RETURN on view {}", self.view.shown_name(oid)?)),
            "pg_constraint" => {
                let (r, _, c): (_, _, Constraint<'_>) = self.view.constraint(oid)?;
                Some(format!("constraint {} on table {}", quote_ident(c.name()), self.view.shown_name(r.id)?))
            }
            _ => None,
        }
    }
}

/// Usual bytes of a row with these columns, its key and header included.
fn width(columns: &[ColumnDescriptor]) -> i64 {
    const HEADER: i64 = 24;
    /// What a value of variable length is taken to need.
    const VARIABLE: i64 = 32;
    columns.iter().map(|c| if !c.ty.is_empty() { i64::from(c.ty.len()) } else { VARIABLE }).sum::<i64>() + HEADER
}

/// Input of the types that name functions and operators. `None`: there is no such thing.
fn registry_in(which: &str, text: &str) -> Option<Result<Datum>> {
    let (name, args) = match text.find('(') {
        Some(open) if which.ends_with("edurein") || which == "regoperatorin" => (&text[..open], Some(&text[open + 1..])),
        _ => (text, None),
    };
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let types = args.map(|args| {
        let args = args.trim_end().trim_end_matches(')').trim();
        let each =
            |t: &str| if t.trim().eq_ignore_ascii_case("none") { Some(DataType(0)) } else { DataType::from_name(&t.trim().to_lowercase()) };
        if args.is_empty() { Some(vec![]) } else { args.split(',').map(each).collect::<Option<Vec<_>>>() }
    });
    let types = match types {
        Some(None) => return None,
        Some(types) => types,
        None => None,
    };
    let found: Vec<Oid> = if which.starts_with("regoper") {
        let operands = |o: &crate::functions::OperatorDef| vec![o.left.unwrap_or(DataType(0)), o.right];
        operators_named(name).iter().filter(|o| types.as_ref().is_none_or(|t| operands(o) == *t)).map(|o| o.oid).collect()
    } else {
        let name = super::view::split_name(name)?.pop()?;
        fixed::procs_named(&name)
            .into_iter()
            .filter(|oid| types.as_ref().is_none_or(|t| proc_arguments(*oid).as_ref() == Some(t)))
            .collect()
    };
    let what = if which.starts_with("regoper") { "operator" } else { "function" };
    match found.as_slice() {
        [] => None,
        [one] => Some(Ok(Datum::Oid(*one))),
        _ => Some(Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("more than one {what} named \"{text}\"")))),
    }
}

fn proc_arguments(oid: Oid) -> Option<Vec<DataType>> {
    if let Some(def) = function_by_oid(oid) {
        return Some(def.args.to_vec());
    }
    match fixed::procs().get(&oid)?.cells.get(12)? {
        Datum::Array(a) => Some(a.elements.iter().filter_map(Datum::as_oid).map(DataType).collect()),
        _ => None,
    }
}

/// Output of the types that name functions and operators.
fn registry_out(which: &str, oid: Oid) -> Option<String> {
    let list = |types: &[DataType]| types.iter().map(|t| if t.0 == 0 { "NONE".into() } else { t.name() }).collect::<Vec<_>>().join(",");
    match which {
        "regprocout" => {
            let name = fixed::proc_name(oid)?;
            // An overloaded name is qualified, as PostgreSQL does.
            let many = functions_named(name).len() > 1;
            Some(format!("{}{}", if many { "pg_catalog." } else { "" }, quote_ident(name)))
        }
        "regprocedureout" => Some(format!("{}({})", quote_ident(fixed::proc_name(oid)?), list(&proc_arguments(oid)?))),
        "regoperout" => {
            let operator = all_operators().find(|o| o.oid == oid)?;
            let many = operators_named(operator.name).len() > 1;
            Some(format!("{}{}", if many { "pg_catalog." } else { "" }, operator.name))
        }
        _ => {
            let operator = all_operators().find(|o| o.oid == oid)?;
            Some(format!("{}({})", operator.name, list(&[operator.left.unwrap_or(DataType(0)), operator.right])))
        }
    }
}
