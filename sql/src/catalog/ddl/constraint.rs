//! Constraints, for CREATE TABLE and ALTER TABLE alike: primary keys, unique keys, checks, foreign keys.

use sqlparser::ast;

use super::alter::mentions;
use super::names::quote;
use super::sequence::undefined_column;
use super::{DdlRun, Job, JobError, MAX_INDEX_COLUMNS, VALUES};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, NO_TYPMOD};

/// A constraint as the statement gives it, column and table constraints alike.
#[derive(Clone, Debug)]
pub(super) enum ConstraintSpec {
    /// PRIMARY KEY or UNIQUE.
    Key { name: Option<String>, primary: bool, columns: Vec<String>, include: Vec<String> },
    /// CHECK.
    Check { name: Option<String>, expr: Box<ast::Expr>, column: Option<String> },
    /// FOREIGN KEY.
    Foreign { name: Option<String>, columns: Vec<String>, key: Box<ast::ForeignKeyConstraint> },
}

impl DdlRun<'_> {
    /// Gathers column constraints and table constraints in order of appearance.
    pub(super) fn collect_constraints(
        &self,
        relation: &RelationDescriptor,
        columns: &[ast::ColumnDef],
        constraints: &[ast::TableConstraint],
    ) -> Result<Vec<ConstraintSpec>> {
        let mut specs = vec![];
        for column in columns {
            for option in &column.options {
                let name = option.name.as_ref().map(|n| n.value.clone());
                let own = column.name.value.clone();
                specs.push(match &option.option {
                    ast::ColumnOption::PrimaryKey(key) => {
                        refuse_deferrable(key.characteristics.as_ref())?;
                        ConstraintSpec::Key { name, primary: true, columns: vec![own], include: vec![] }
                    }
                    ast::ColumnOption::Unique(key) => {
                        refuse_unique_options(key)?;
                        ConstraintSpec::Key { name, primary: false, columns: vec![own], include: vec![] }
                    }
                    ast::ColumnOption::Check(check) => ConstraintSpec::Check { name, expr: check.expr.clone(), column: Some(own) },
                    ast::ColumnOption::ForeignKey(key) => ConstraintSpec::Foreign { name, columns: vec![own], key: Box::new(key.clone()) },
                    _ => continue,
                });
            }
        }
        for constraint in constraints {
            specs.push(constraint_spec(constraint)?);
        }
        let primaries = specs.iter().filter(|s| matches!(s, ConstraintSpec::Key { primary: true, .. })).count();
        if primaries > 1 {
            let message = format!("multiple primary keys for table \"{}\" are not allowed", relation.name);
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        Ok(specs)
    }

    /// Adds keys and checks to a table that holds no rows yet.
    pub(super) async fn add_constraints(&mut self, relation: &mut RelationDescriptor, specs: &[ConstraintSpec]) -> Result<()> {
        for spec in specs {
            match spec {
                ConstraintSpec::Key { name, primary, columns, include } => {
                    self.add_key(relation, name.clone(), *primary, columns, include).await?;
                }
                ConstraintSpec::Check { name, expr, column } => {
                    self.add_check(relation, name.clone(), expr, column.as_deref(), true).await?;
                }
                ConstraintSpec::Foreign { .. } => {}
            }
        }
        Ok(())
    }

    /// Adds a PRIMARY KEY or UNIQUE constraint; answers with the index's id. The rows of a primary key are the caller's business.
    pub(super) async fn add_key(
        &mut self,
        relation: &mut RelationDescriptor,
        name: Option<String>,
        primary: bool,
        columns: &[String],
        include: &[String],
    ) -> Result<u32> {
        let (index_oid, constraint_oid) = (self.store.allocate_oid().await?, self.store.allocate_oid().await?);
        let (schema, table_name) = (relation.schema, relation.name.clone());
        let taken = own_names(relation);
        let RelationKind::Table(table) = &mut relation.kind else { return Err(SqlError::internal("a key of no table")) };
        let ids = column_ids(table, &table_name, columns)?;
        if let Some(twice) = columns.iter().enumerate().find(|(i, c)| columns[..*i].contains(c)).map(|(_, c)| c) {
            let kind = if primary { "primary key" } else { "unique" };
            let message = format!("column \"{twice}\" appears twice in {kind} constraint");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        if ids.len() > MAX_INDEX_COLUMNS {
            return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("cannot use more than {MAX_INDEX_COLUMNS} columns in an index")));
        }
        for id in &ids {
            must_be_indexable(table, *id)?;
        }
        let all_names: Vec<&str> = columns.iter().chain(include).map(String::as_str).collect();
        let include = column_ids(table, &table_name, include)?;
        let name = match name {
            Some(name) if taken.contains(&name) || self.changes.snapshot().by_name.contains_key(&(schema, name.clone())) => {
                return Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
            }
            Some(name) => name,
            None if primary => self.choose_name(schema, &table_name, "", "pkey", &taken),
            None => self.choose_name(schema, &table_name, &all_names.join("_"), "key", &taken),
        };
        let RelationKind::Table(table) = &mut relation.kind else { return Err(SqlError::internal("a key of no table")) };
        let keys = ids.iter().map(|c| IndexKey { column: *c, descending: false, nulls_first: false }).collect();
        let constraint = Some(if primary { ConstraintKind::Primary(constraint_oid) } else { ConstraintKind::Unique(constraint_oid) });
        let mut index = IndexDescriptor {
            id: 0,
            oid: index_oid,
            name,
            unique: true,
            keys,
            include,
            predicate: None,
            state: IndexState::Public,
            constraint,
        };
        if primary {
            for id in &ids {
                if let Some(column) = table.columns.iter_mut().find(|c| c.id == *id) {
                    column.not_null = true;
                }
            }
            index.id = table.primary.id;
            index.include = vec![];
            table.primary = index;
            Ok(table.primary.id)
        } else {
            index.id = table.next_index;
            table.next_index += 1;
            table.indexes.push(index);
            Ok(table.next_index - 1)
        }
    }

    /// Adds a CHECK constraint.
    pub(super) async fn add_check(
        &mut self,
        relation: &mut RelationDescriptor,
        name: Option<String>,
        expr: &ast::Expr,
        column: Option<&str>,
        validated: bool,
    ) -> Result<()> {
        let bound = self.analyzer.expression(self.changes.snapshot(), Some(relation), expr, DataType::BOOL, NO_TYPMOD, "CHECK")?;
        let oid = self.store.allocate_oid().await?;
        let taken = own_names(relation);
        let name = match name {
            Some(name) if constraint_names(relation).contains(&name) => {
                let message = if self.catalog().relations.contains_key(&relation.id) {
                    format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name)
                } else {
                    format!("check constraint \"{name}\" already exists")
                };
                return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
            }
            Some(name) => name,
            None => {
                // PostgreSQL: a check of exactly one column is named after it, wherever it stands.
                let _ = column;
                let columns = relation.table().map(|t| t.columns.as_slice()).unwrap_or_default();
                let used: Vec<&str> = columns.iter().map(|c| c.name.as_str()).filter(|c| mentions(&bound, c)).collect();
                let middle = if let [one] = used.as_slice() { *one } else { "" };
                self.choose_name(relation.schema, &relation.name, middle, "check", &taken)
            }
        };
        if let RelationKind::Table(table) = &mut relation.kind {
            table.checks.push(CheckDescriptor { oid, name, expression: bound, validated });
        }
        Ok(())
    }

    /// Adds the foreign keys among `specs` to a table that is in the catalog already.
    pub(super) async fn add_foreign_keys(&mut self, table: Oid, specs: &[ConstraintSpec], rows_exist: bool) -> Result<()> {
        for spec in specs {
            if let ConstraintSpec::Foreign { name, columns, key } = spec {
                self.add_foreign_key(table, name.clone(), columns, key, rows_exist).await?;
            }
        }
        Ok(())
    }

    /// Adds one foreign key, and the check of existing rows when there may be some.
    pub(super) async fn add_foreign_key(
        &mut self,
        table: Oid,
        name: Option<String>,
        columns: &[String],
        key: &ast::ForeignKeyConstraint,
        rows_exist: bool,
    ) -> Result<()> {
        let oid = self.store.allocate_oid().await?;
        let Some(relation) = self.catalog().relations.get(&table) else { return Err(SqlError::internal("a key of no table")) };
        let mut relation = relation.as_ref().clone();
        let (target, target_table) = self.table(&key.foreign_table)?;
        let own = relation.table().cloned().ok_or_else(|| SqlError::internal("a key of no table"))?;
        if let Some(missing) = columns.iter().find(|c| own.column_named(c).is_none_or(|c| c.hidden)) {
            let message = format!("column \"{missing}\" referenced in foreign key constraint does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
        }
        let ids = column_ids(&own, &relation.name, columns)?;
        let referenced = self.referenced_columns(&target, &target_table, key)?;
        if ids.len() != referenced.len() {
            let message = "number of referencing and referenced columns for foreign key disagree";
            return Err(SqlError::new(SqlState::INVALID_FOREIGN_KEY, message));
        }
        let taken = constraint_names(&relation);
        let name = match name {
            Some(name) if taken.contains(&name) => {
                let message = format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name);
                return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
            }
            Some(name) => name,
            None => self.choose_name(relation.schema, &relation.name, &columns.join("_"), "fkey", &taken),
        };
        comparable(&own, &ids, &target_table, &referenced, &name)?;
        if matches!(key.match_kind, Some(ast::ConstraintReferenceMatchKind::Partial)) {
            return Err(SqlError::unsupported("MATCH PARTIAL"));
        }
        let timing = key.characteristics.as_ref();
        let descriptor = ForeignKeyDescriptor {
            oid,
            name,
            columns: ids,
            referenced_table: target.id,
            referenced_columns: referenced,
            on_delete: action(key.on_delete),
            on_update: action(key.on_update),
            match_full: matches!(key.match_kind, Some(ast::ConstraintReferenceMatchKind::Full)),
            deferrable: timing.is_some_and(|c| c.deferrable == Some(true) || c.initially == Some(ast::DeferrableInitial::Deferred)),
            initially_deferred: timing.is_some_and(|c| c.initially == Some(ast::DeferrableInitial::Deferred)),
            validated: true,
        };
        if rows_exist {
            let job = self.foreign_key_check(&relation, &own, &target, &target_table, &descriptor);
            self.jobs.push(job);
        }
        if let RelationKind::Table(table) = &mut relation.kind {
            table.foreign_keys.push(descriptor);
        }
        let own_id = relation.id;
        self.changes.put_relation(relation);
        self.note_reference(target.id, own_id);
        Ok(())
    }

    /// Records in the referenced table that `by` refers to it.
    fn note_reference(&mut self, target: Oid, by: Oid) {
        let Some(relation) = self.catalog().relations.get(&target) else { return };
        let mut relation = relation.as_ref().clone();
        if let RelationKind::Table(table) = &mut relation.kind
            && !table.referenced_by.contains(&by)
        {
            table.referenced_by.push(by);
            self.changes.put_relation(relation);
        }
    }

    fn referenced_columns(
        &self,
        target: &RelationDescriptor,
        table: &TableDescriptor,
        key: &ast::ForeignKeyConstraint,
    ) -> Result<Vec<u32>> {
        if key.referred_columns.is_empty() {
            if !matches!(table.primary.constraint, Some(ConstraintKind::Primary(_))) {
                let message = format!("there is no primary key for referenced table \"{}\"", target.name);
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            return Ok(table.primary.keys.iter().map(|k| k.column).collect());
        }
        let names: Vec<String> = key.referred_columns.iter().map(|c| c.value.clone()).collect();
        let ids = column_ids(table, &target.name, &names)?;
        let same_set = |index: &IndexDescriptor| {
            index.unique
                && index.predicate.is_none()
                && index.state == IndexState::Public
                && index.keys.len() == ids.len()
                && index.keys.iter().all(|k| ids.contains(&k.column))
        };
        if table.all_indexes().any(same_set) {
            return Ok(ids);
        }
        let message = format!("there is no unique constraint matching given keys for referenced table \"{}\"", target.name);
        Err(SqlError::new(SqlState::INVALID_FOREIGN_KEY, message))
    }

    /// The query that finds a row without its referenced row.
    pub(super) fn foreign_key_check(
        &self,
        relation: &RelationDescriptor,
        own: &TableDescriptor,
        target: &RelationDescriptor,
        target_table: &TableDescriptor,
        key: &ForeignKeyDescriptor,
    ) -> Job {
        let name = |table: &TableDescriptor, id: u32| table.column(id).map(|c| quote(&c.name)).unwrap_or_default();
        let pairs: Vec<(String, String)> =
            key.columns.iter().zip(&key.referenced_columns).map(|(a, b)| (name(own, *a), name(target_table, *b))).collect();
        let equal: Vec<String> = pairs.iter().map(|(a, b)| format!("p.{b} = c.{a}")).collect();
        let present: Vec<String> = pairs.iter().map(|(a, _)| format!("c.{a} IS NOT NULL")).collect();
        let qualified = |r: &RelationDescriptor| format!("{}.{}", quote(&self.schema_name(r.schema)), quote(&r.name));
        let query = format!(
            "SELECT {} FROM {} c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {}) LIMIT 1",
            pairs.iter().map(|(a, _)| format!("c.{a}::text")).collect::<Vec<_>>().join(", "),
            qualified(relation),
            present.join(" AND "),
            qualified(target),
            equal.join(" AND ")
        );
        let message = format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", relation.name, key.name);
        Job::MustBeEmpty {
            query,
            error: Box::new(JobError {
                code: SqlState::FOREIGN_KEY_VIOLATION.0,
                message,
                detail: Some(format!(
                    "Key ({})=({VALUES}) is not present in table \"{}\".",
                    key.columns.iter().filter_map(|id| own.column(*id)).map(|c| c.name.clone()).collect::<Vec<_>>().join(", "),
                    target.name
                )),
                table: relation.id,
                constraint: Some(key.name.clone()),
                column: None,
            }),
        }
    }
}

/// A table constraint as the statement gives it.
pub(super) fn constraint_spec(constraint: &ast::TableConstraint) -> Result<ConstraintSpec> {
    let name = |n: &Option<ast::Ident>| n.as_ref().map(|n| n.value.clone());
    let idents = |list: &[ast::Ident]| list.iter().map(|i| i.value.clone()).collect::<Vec<_>>();
    match constraint {
        ast::TableConstraint::PrimaryKey(key) => {
            refuse_deferrable(key.characteristics.as_ref())?;
            Ok(ConstraintSpec::Key {
                name: name(&key.name),
                primary: true,
                columns: index_columns(&key.columns)?,
                include: idents(&key.include),
            })
        }
        ast::TableConstraint::Unique(key) => {
            refuse_unique_options(key)?;
            Ok(ConstraintSpec::Key {
                name: name(&key.name),
                primary: false,
                columns: index_columns(&key.columns)?,
                include: idents(&key.include),
            })
        }
        ast::TableConstraint::Check(check) => Ok(ConstraintSpec::Check { name: name(&check.name), expr: check.expr.clone(), column: None }),
        ast::TableConstraint::ForeignKey(key) => {
            Ok(ConstraintSpec::Foreign { name: name(&key.name), columns: idents(&key.columns), key: Box::new(key.clone()) })
        }
        other => Err(SqlError::unsupported(format!("table constraint {other}"))),
    }
}

fn refuse_deferrable(characteristics: Option<&ast::ConstraintCharacteristics>) -> Result<()> {
    match characteristics {
        Some(c) if c.deferrable == Some(true) => Err(SqlError::unsupported("a DEFERRABLE unique constraint")),
        _ => Ok(()),
    }
}

fn refuse_unique_options(key: &ast::UniqueConstraint) -> Result<()> {
    if matches!(key.nulls_distinct, ast::NullsDistinctOption::NotDistinct) {
        return Err(SqlError::unsupported("NULLS NOT DISTINCT"));
    }
    refuse_deferrable(key.characteristics.as_ref())
}

fn index_columns(columns: &[ast::IndexColumn]) -> Result<Vec<String>> {
    columns
        .iter()
        .map(|c| match &c.column.expr {
            ast::Expr::Identifier(ident) => Ok(ident.value.clone()),
            other => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{other}\""))),
        })
        .collect()
}

/// Column ids by name; `42703` for one that is not there.
pub(super) fn column_ids(table: &TableDescriptor, table_name: &str, names: &[String]) -> Result<Vec<u32>> {
    names
        .iter()
        .map(|name| match table.column_named(name) {
            Some(column) => Ok(column.id),
            None => {
                let message = format!("column \"{name}\" named in key does not exist");
                Err(if table_name.is_empty() {
                    undefined_column(name, table_name)
                } else {
                    SqlError::new(SqlState::UNDEFINED_COLUMN, message)
                })
            }
        })
        .collect()
}

/// `42704` for a column of a type without an order.
pub(super) fn must_be_indexable(table: &TableDescriptor, column: u32) -> Result<()> {
    let Some(column) = table.column(column) else { return Ok(()) };
    let unordered =
        matches!(column.ty.element().unwrap_or(column.ty), DataType::JSON | DataType::VOID | DataType::ACLITEM | DataType::PG_NODE_TREE);
    if !unordered {
        return Ok(());
    }
    let ty = crate::types::format_type(column.ty, NO_TYPMOD);
    let message = format!("data type {ty} has no default operator class for access method \"btree\"");
    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message)
        .hint("You must specify an operator class for the index or define a default operator class for the data type."))
}

/// The two sides of a foreign key must be of types that compare as keys: the same, but for the widths of integers and texts.
fn comparable(own: &TableDescriptor, ids: &[u32], target: &TableDescriptor, referenced: &[u32], name: &str) -> Result<()> {
    let family = |ty: DataType| match ty {
        DataType::INT2 | DataType::INT4 | DataType::INT8 => DataType::INT8,
        DataType::VARCHAR | DataType::TEXT => DataType::TEXT,
        other => other,
    };
    for (a, b) in ids.iter().zip(referenced) {
        let (Some(a), Some(b)) = (own.column(*a), target.column(*b)) else { continue };
        if family(a.ty) != family(b.ty) {
            let (ta, tb) = (crate::types::format_type(a.ty, NO_TYPMOD), crate::types::format_type(b.ty, NO_TYPMOD));
            let detail = format!("Key columns \"{}\" and \"{}\" are of incompatible types: {ta} and {tb}.", a.name, b.name);
            let message = format!("foreign key constraint \"{name}\" cannot be implemented");
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).detail(detail));
        }
    }
    Ok(())
}

fn action(action: Option<ast::ReferentialAction>) -> ReferentialAction {
    match action {
        None | Some(ast::ReferentialAction::NoAction) => ReferentialAction::NoAction,
        Some(ast::ReferentialAction::Restrict) => ReferentialAction::Restrict,
        Some(ast::ReferentialAction::Cascade) => ReferentialAction::Cascade,
        Some(ast::ReferentialAction::SetNull) => ReferentialAction::SetNull,
        Some(ast::ReferentialAction::SetDefault) => ReferentialAction::SetDefault,
    }
}

/// Names that a table itself will take in its schema.
fn own_names(relation: &RelationDescriptor) -> Vec<String> {
    let mut names = constraint_names(relation);
    names.push(relation.name.clone());
    names
}

/// Names of a table's constraints and indexes.
pub(super) fn constraint_names(relation: &RelationDescriptor) -> Vec<String> {
    let Some(table) = relation.table() else { return vec![] };
    let indexes = table.all_indexes().map(|i| i.name.clone());
    let checks = table.checks.iter().map(|c| c.name.clone());
    indexes.chain(checks).chain(table.foreign_keys.iter().map(|f| f.name.clone())).collect()
}
