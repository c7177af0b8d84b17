//! ANALYZE (and VACUUM ANALYZE): what the planner knows of a table's rows.
//!
//! One pass over each table: its rows are counted, and for each column the different values are estimated with a HyperLogLog sketch
//! (Flajolet et al., 2007) of [`REGISTERS`] registers: 4 KiB a column whatever the table's size, a standard error of 1.6 %, and, unlike a sample, no
//! worse for values that lie together. What comes out are estimates for choosing plans, so no transaction depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlparser::ast;

use super::Session;
use super::api::ResultSink;
use super::run::Commit;
use crate::catalog::descriptor::{RelationDescriptor, TableDescriptor};
use crate::catalog::snapshot::{CatalogSnapshot, ColumnStatistics};
use crate::catalog::store::TableStatistics;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::value::hash_row;
use crate::functions::quote_ident;
use crate::types::Datum;

/// Registers of a sketch; a power of two.
const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 12;

impl Session {
    /// VACUUM: versions are collected by every node on its own; statistics are what is left to do.
    pub(super) async fn vacuum(&mut self, analyze: bool, tables: &[ast::ObjectName], alone: bool, sink: &mut dyn ResultSink) -> Result<()> {
        if !alone || self.txn.as_ref().is_some_and(|t| t.explicit) {
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "VACUUM cannot run inside a transaction block"));
        }
        if analyze {
            self.gather_statistics(tables).await?;
        }
        sink.complete("VACUUM").await
    }

    /// ANALYZE.
    pub(super) async fn analyze(&mut self, tables: &[ast::ObjectName], sink: &mut dyn ResultSink) -> Result<()> {
        self.gather_statistics(tables).await?;
        sink.complete("ANALYZE").await
    }

    async fn gather_statistics(&mut self, tables: &[ast::ObjectName]) -> Result<()> {
        let catalog = self.catalog().await?;
        let wanted: Vec<Arc<RelationDescriptor>> = if tables.is_empty() {
            catalog.relations.values().filter(|r| r.database == self.database && r.table().is_some()).cloned().collect()
        } else {
            let mut found = vec![];
            for table in tables {
                found.push(self.relation(table).await?);
            }
            found
        };
        let mut found = vec![];
        for relation in &wanted {
            if let Some(table) = relation.table() {
                found.push(self.table_statistics(&catalog, relation, table).await?);
            }
        }
        self.db.catalog.set_statistics(&found).await
    }

    async fn table_statistics(
        &mut self,
        catalog: &CatalogSnapshot,
        relation: &RelationDescriptor,
        table: &TableDescriptor,
    ) -> Result<TableStatistics> {
        let columns: Vec<(u32, String)> = table.columns.iter().filter(|c| !c.hidden).map(|c| (c.id, quote_ident(&c.name))).collect();
        let list = columns.iter().map(|c| c.1.as_str()).collect::<Vec<_>>().join(", ");
        let mut sketches = vec![Sketch::default(); columns.len()];
        let mut rows = 0u64;
        let mut running = self.begin_internal(&format!("SELECT {list} FROM {}", self.qualified_name(catalog, relation))).await?;
        while let Some(batch) = self.next_batch(&mut running, Arc::from([]), Commit::Later).await? {
            rows += batch.len as u64;
            for row in batch.rows() {
                sketches.iter_mut().zip(row).for_each(|(sketch, datum)| sketch.add(datum));
            }
        }
        let columns: BTreeMap<u32, ColumnStatistics> =
            columns.iter().zip(&sketches).map(|(column, sketch)| (column.0, sketch.statistics(rows))).collect();
        Ok(TableStatistics { table: relation.id, rows, columns })
    }
}

/// Counts different values in little memory.
#[derive(Clone)]
struct Sketch {
    registers: Box<[u8]>,
    nulls: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch { registers: vec![0; REGISTERS].into(), nulls: 0 }
    }
}

impl Sketch {
    fn add(&mut self, datum: &Datum) {
        if matches!(datum, Datum::Null) {
            self.nulls += 1;
            return;
        }
        let hash = spread(hash_row(std::slice::from_ref(datum), 0));
        let register = &mut self.registers[(hash >> (64 - INDEX_BITS)) as usize];
        let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() as u8 + 1;
        *register = rank.max(*register);
    }

    /// How many different values, about.
    fn distinct(&self) -> f64 {
        let m = REGISTERS as f64;
        let sum: f64 = self.registers.iter().map(|r| 0.5f64.powi(i32::from(*r))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = self.registers.iter().filter(|r| **r == 0).count() as f64;
        if estimate <= 2.5 * m && empty > 0.0 { m * (m / empty).ln() } else { estimate }
    }

    fn statistics(&self, rows: u64) -> ColumnStatistics {
        let there = rows.saturating_sub(self.nulls);
        ColumnStatistics { distinct: (self.distinct().round() as u64).min(there), null_share: self.nulls as f32 / rows.max(1) as f32 }
    }
}

/// Every bit of a hash into every other (MurmurHash3's finalizer): the sketch takes its bits for random.
fn spread(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(values: impl Iterator<Item = Datum>) -> ColumnStatistics {
        let (mut sketch, mut rows) = (Sketch::default(), 0);
        for value in values {
            sketch.add(&value);
            rows += 1;
        }
        sketch.statistics(rows)
    }

    #[test]
    fn few_values_are_counted_well_and_many_within_five_per_cent() {
        for n in [1, 3, 97, 1000, 20_000, 300_000] {
            let ints = estimate((0..300_000).map(|i| Datum::Int4(i % n)));
            let texts = estimate((0..300_000).map(|i| Datum::text(format!("value {}", i % n))));
            for found in [ints, texts] {
                let error = (found.distinct as f64 - f64::from(n)).abs() / f64::from(n);
                assert!(error < 0.05, "{n} values were taken for {}", found.distinct);
            }
        }
    }

    #[test]
    fn nulls_are_no_values() {
        let found = estimate((0..1000).map(|i| if i % 4 == 0 { Datum::Int8(i) } else { Datum::Null }));
        assert!((found.null_share - 0.75).abs() < 0.001);
        assert!((240..=250).contains(&found.distinct), "{}", found.distinct);
        assert_eq!(estimate(std::iter::empty()), ColumnStatistics { distinct: 0, null_share: 0.0 });
    }
}
