//! CREATE TABLE (LIKE …): columns of another relation, and on request its defaults, constraints and indexes.

use super::DdlRun;
use super::table::{plain_column, push_column};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::statement::LikeClause;

impl DdlRun<'_> {
    /// Copies the columns. NOT NULL always comes along; an identity gets a sequence of its own.
    pub(super) async fn like_columns(&mut self, relation: &mut RelationDescriptor, like: &LikeClause) -> Result<()> {
        let source = self.relation(&like.source)?;
        let columns = match source.kind {
            RelationKind::Table(table) => table.columns,
            RelationKind::View(view) => view.columns,
            RelationKind::Sequence(_) => {
                let message = format!("relation \"{}\" is invalid in LIKE clause", source.name);
                return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).detail("This operation is not supported for sequences."));
            }
        };
        for column in columns.into_iter().filter(|c| !c.hidden) {
            let (ty, identity) = (column.ty, column.identity.filter(|_| like.includes("identity")));
            let mut copy = plain_column(column.name, ty, column.typmod);
            copy.not_null = column.not_null;
            copy.comment = column.comment.filter(|_| like.includes("comments"));
            copy.generated = column.generated.filter(|_| like.includes("generated"));
            copy.default = column.default.filter(|_| like.includes("defaults") && column.identity.is_none());
            copy.identity = identity;
            let RelationKind::Table(table) = &mut relation.kind else { return Err(SqlError::internal("columns of no table")) };
            let id = push_column(&relation.name, table, copy)?;
            if identity.is_some() {
                self.own_sequence(relation, id, ty, &[]).await?;
            }
        }
        Ok(())
    }

    /// Copies checks and indexes, as far as the clause includes them. Checks keep their names, indexes get new ones.
    pub(super) async fn like_constraints(&mut self, relation: &mut RelationDescriptor, like: &LikeClause) -> Result<()> {
        let source = self.relation(&like.source)?;
        let RelationKind::Table(from) = source.kind else { return Ok(()) };
        if like.includes("constraints") {
            for check in &from.checks {
                let oid = self.store.allocate_oid().await?;
                if let RelationKind::Table(table) = &mut relation.kind {
                    table.checks.push(CheckDescriptor { oid, validated: true, ..check.clone() });
                }
            }
        }
        if !like.includes("indexes") {
            return Ok(());
        }
        let name = |id: u32| from.column(id).map(|c| c.name.clone()).unwrap_or_default();
        for index in from.all_indexes() {
            let keys: Vec<String> = index.keys.iter().map(|k| name(k.column)).collect();
            let include: Vec<String> = index.include.iter().map(|id| name(*id)).collect();
            match index.constraint {
                Some(ConstraintKind::Primary(_)) => _ = self.add_key(relation, None, true, &keys, &[]).await?,
                Some(ConstraintKind::Unique(_)) => _ = self.add_key(relation, None, false, &keys, &include).await?,
                // The hidden key of a table without a primary key.
                None if index.id == from.primary.id => {}
                None => self.like_index(relation, index, &keys, &include).await?,
            }
        }
        Ok(())
    }

    async fn like_index(
        &mut self,
        relation: &mut RelationDescriptor,
        index: &IndexDescriptor,
        keys: &[String],
        include: &[String],
    ) -> Result<()> {
        let oid = self.store.allocate_oid().await?;
        let taken: Vec<String> = relation.table().map(|t| t.all_indexes().map(|i| i.name.clone()).collect()).unwrap_or_default();
        let name = self.choose_name(relation.schema, &relation.name, &[keys, include].concat().join("_"), "idx", &taken);
        let RelationKind::Table(table) = &mut relation.kind else { return Ok(()) };
        let id = |name: &String| table.column_named(name).map(|c| c.id).ok_or_else(|| SqlError::internal("a copied column is missing"));
        let columns = keys.iter().map(id).collect::<Result<Vec<u32>>>()?;
        let include = include.iter().map(id).collect::<Result<Vec<u32>>>()?;
        let keys = index.keys.iter().zip(columns).map(|(key, column)| IndexKey { column, ..key.clone() }).collect();
        let copy = IndexDescriptor { id: table.next_index, oid, name, keys, include, state: IndexState::Public, ..index.clone() };
        table.next_index += 1;
        table.indexes.push(copy);
        Ok(())
    }
}
