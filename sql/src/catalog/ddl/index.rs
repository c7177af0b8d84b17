//! CREATE INDEX.

use sqlparser::ast;

use super::constraint::{column_ids, must_be_indexable};
use super::names::display;
use super::{DdlRun, Job, MAX_INDEX_COLUMNS};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, NO_TYPMOD};

impl DdlRun<'_> {
    pub(super) async fn create_index(&mut self, create: &ast::CreateIndex) -> Result<()> {
        refuse_unsupported(create)?;
        if let Ok(relation) = self.relation(&create.table_name)
            && let RelationKind::View(_) | RelationKind::Sequence(_) = relation.kind
        {
            let kind = if matches!(relation.kind, RelationKind::View(_)) { "views" } else { "sequences" };
            let message = format!("cannot create index on relation \"{}\"", relation.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).detail(format!("This operation is not supported for {kind}.")));
        }
        let (mut relation, table) = self.table(&create.table_name)?;
        let mut keys = vec![];
        let mut names = vec![];
        for column in &create.columns {
            let (name, key) = index_key(&table, column)?;
            must_be_indexable(&table, key.column)?;
            names.push(name);
            keys.push(key);
        }
        if keys.len() > MAX_INDEX_COLUMNS {
            return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("cannot use more than {MAX_INDEX_COLUMNS} columns in an index")));
        }
        let include: Vec<String> = create.include.iter().map(|i| i.value.clone()).collect();
        // PostgreSQL names an index after all its columns.
        names.extend(include.iter().cloned());
        let include = column_ids(&table, &relation.name, &include)?;
        let name = match &create.name {
            Some(name) => self.split_name(name)?.1,
            None => self.choose_name(relation.schema, &relation.name, &names.join("_"), "idx", &[]),
        };
        if self.catalog().by_name.contains_key(&(relation.schema, name.clone())) {
            if create.if_not_exists {
                self.notice(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"));
                return Ok(());
            }
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        let predicate = match &create.predicate {
            Some(expr) => {
                Some(self.analyzer.expression(self.changes.snapshot(), Some(&relation), expr, DataType::BOOL, NO_TYPMOD, "WHERE")?)
            }
            None => None,
        };
        let oid = self.store.allocate_oid().await?;
        let RelationKind::Table(table) = &mut relation.kind else { return Err(SqlError::internal("an index of no table")) };
        let id = table.next_index;
        table.next_index += 1;
        table.indexes.push(IndexDescriptor {
            id,
            oid,
            name,
            unique: create.unique,
            keys,
            include,
            predicate,
            state: IndexState::WriteOnly,
            constraint: None,
        });
        let table_id = relation.id;
        self.changes.put_relation(relation);
        self.jobs.push(Job::Backfill { table: table_id, index: id });
        Ok(())
    }

    /// Opens a filled index to readers.
    pub fn publish_index(&mut self, table: Oid, index: u32) {
        let Some(relation) = self.catalog().relations.get(&table) else { return };
        let mut relation = relation.as_ref().clone();
        if let RelationKind::Table(t) = &mut relation.kind
            && let Some(index) = t.indexes.iter_mut().find(|i| i.id == index)
        {
            index.state = IndexState::Public;
            self.changes.put_relation(relation);
        }
    }

    /// Takes back an index that could not be filled.
    pub fn remove_unfilled_index(&mut self, table: Oid, index: u32) {
        let Some(relation) = self.catalog().relations.get(&table) else { return };
        let mut relation = relation.as_ref().clone();
        if let RelationKind::Table(t) = &mut relation.kind {
            t.indexes.retain(|i| i.id != index || i.state == IndexState::Public);
        }
        self.changes.put_relation(relation);
    }
}

fn refuse_unsupported(create: &ast::CreateIndex) -> Result<()> {
    if let Some(method) = &create.using
        && !method.to_string().eq_ignore_ascii_case("btree")
    {
        return Err(SqlError::unsupported(format!("access method \"{}\"", method.to_string().to_ascii_lowercase())));
    }
    if create.nulls_distinct == Some(false) {
        return Err(SqlError::unsupported("NULLS NOT DISTINCT"));
    }
    if !create.with.is_empty() {
        return Err(SqlError::unsupported("an index storage parameter"));
    }
    Ok(())
}

fn index_key(table: &TableDescriptor, column: &ast::IndexColumn) -> Result<(String, IndexKey)> {
    if let Some(class) = &column.operator_class {
        return Err(SqlError::unsupported(format!("operator class {}", display(class))));
    }
    let ast::Expr::Identifier(ident) = &column.column.expr else {
        return Err(SqlError::unsupported("an index on an expression"));
    };
    let Some(found) = table.column_named(&ident.value) else {
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", ident.value)));
    };
    let options = &column.column.options;
    let descending = matches!(options.sort, Some(ast::OrderBySort::Desc));
    // PostgreSQL: NULLs sort as if larger than anything.
    let nulls_first = options.nulls_first.unwrap_or(descending);
    Ok((ident.value.clone(), IndexKey { column: found.id, descending, nulls_first }))
}
