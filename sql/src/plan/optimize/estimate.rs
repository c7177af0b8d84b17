//! How many rows: of tables, of conditions, of joins.
//!
//! What is known comes from three places, in this order: ANALYZE (rows of a table, different values of a column), unique keys (as many
//! different values as rows), and, where neither helps, PostgreSQL's guesses. An equality between two columns holds for one pair in as many as the
//! side with more different values has, whatever filters have left of the rows; several equalities between two relations never for fewer than
//! one pair in as many as the larger of them has rows, because their columns are correlated (foreign keys of several columns).

use rustc_hash::FxHashMap;

use super::cost::{UNKNOWN_ROWS, array_length, constant_count};
use super::pushdown::comparison;
use crate::catalog::descriptor::Oid;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::functions::registry::ComparisonKind;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::JoinKind;

/// The share of rows with `column = value`, where nothing is known of the column.
const EQUAL: f64 = 0.005;

/// What estimates rest on.
#[derive(Clone, Copy)]
pub(super) struct Estimates<'a> {
    pub catalog: &'a CatalogSnapshot,
    pub cols: &'a [ColInfo],
}

impl Estimates<'_> {
    /// Rows of a table.
    pub fn table_rows(&self, table: Oid) -> f64 {
        self.catalog.row_counts.get(&table).map_or(UNKNOWN_ROWS, |n| (*n as f64).max(1.0))
    }

    /// How many different values a table's column has, if that is known.
    fn distinct_of(&self, table: Oid, column: u32) -> Option<f64> {
        let rows = self.table_rows(table);
        if let Some(found) = self.catalog.column_statistics.get(&table).and_then(|t| t.get(&column)) {
            return Some((found.distinct as f64).clamp(1.0, rows));
        }
        let descriptor = self.catalog.relations.get(&table)?.table()?;
        let alone = |i: &crate::catalog::descriptor::IndexDescriptor| {
            (i.unique || i.id == descriptor.primary.id) && i.predicate.is_none() && matches!(&i.keys[..], [key] if key.column == column)
        };
        descriptor.all_indexes().any(alone).then_some(rows)
    }

    /// Whether ANALYZE has counted the values of a column.
    pub fn is_counted(&self, table: Oid, column: u32) -> bool {
        self.catalog.column_statistics.get(&table).is_some_and(|t| t.contains_key(&column))
    }

    /// How many different values an expression has, if that is known: it is a table's column, perhaps widened.
    pub fn distinct(&self, e: &Expr) -> Option<f64> {
        let (table, column) = self.origin(e)?;
        self.distinct_of(table, column)
    }

    fn origin(&self, e: &Expr) -> Option<(Oid, u32)> {
        match e {
            Expr::Column { ordinal, .. } => {
                let (table, column) = self.cols.get(*ordinal)?.origin?;
                Some((table, u32::try_from(column).ok()?))
            }
            Expr::Cast { input, .. } => self.origin(input),
            _ => None,
        }
    }

    /// The share of rows whose column has one given value.
    pub fn equal_share(&self, table: Oid, column: u32) -> f64 {
        self.distinct_of(table, column).map_or(EQUAL, |n| 1.0 / n)
    }

    fn null_share(&self, e: &Expr) -> Option<f64> {
        let (table, column) = self.origin(e)?;
        self.catalog.column_statistics.get(&table)?.get(&column).map(|c| f64::from(c.null_share))
    }

    /// The share of rows that pass a condition.
    pub fn selectivity(&self, p: &Expr) -> f64 {
        match p {
            Expr::And(args) => self.all(args),
            Expr::Or(args) => args.iter().map(|p| self.selectivity(p)).sum::<f64>().min(1.0),
            Expr::Not(inner) => (1.0 - self.selectivity(inner)).max(0.05),
            Expr::IsNull { input, negated } => {
                let nulls = self.null_share(input).unwrap_or(0.1);
                if *negated { 1.0 - nulls } else { nulls }
            }
            Expr::AnyAll { left, all: false, array, .. } => {
                let (one, most) = self.distinct(left).map_or((EQUAL, 0.5), |n| (1.0 / n, 1.0));
                (one * array_length(array)).min(most)
            }
            Expr::Call { function, args, .. } => match comparison(*function) {
                Some(ComparisonKind::Eq) => self.equality(args),
                Some(ComparisonKind::Ne) => 1.0 - self.equality(args),
                Some(_) => 0.333,
                None if function.0.name == "like" || function.0.name == "textlike" => 0.05,
                None => 0.25,
            },
            Expr::Const { value: crate::types::Datum::Bool(true), .. } => 1.0,
            _ => 0.333,
        }
    }

    /// The share of rows that pass all of these.
    pub fn all(&self, preds: &[Expr]) -> f64 {
        preds.iter().map(|p| self.selectivity(p)).product()
    }

    fn equality(&self, args: &[Expr]) -> f64 {
        let most = args.iter().filter_map(|a| self.distinct(a)).fold(0.0, f64::max);
        if most > 0.0 { 1.0 / most } else { EQUAL }
    }

    /// The share of pairs of rows of two relations that are equal in all of `pairs`. `left` and `right`: rows of the relations, for columns of which
    /// nothing is known.
    pub fn equal_pairs<'e>(&self, pairs: impl Iterator<Item = (&'e Expr, &'e Expr)>, left: f64, right: f64) -> f64 {
        // Two equalities of one column say no more than the sharper one: the other follows from what is equal elsewhere.
        let mut by_column: FxHashMap<Option<ColId>, f64> = FxHashMap::default();
        let (mut share, mut count, mut most_rows) = (1.0f64, 0, left.max(right).max(10.0));
        for (a, b) in pairs {
            let (known_a, known_b) = (self.distinct(a), self.distinct(b));
            let most = match (known_a, known_b) {
                (Some(a), Some(b)) => a.max(b),
                (Some(known), None) | (None, Some(known)) => known,
                // A foreign key, most likely: each row of the larger side has a partner.
                (None, None) => left.min(right).max(10.0),
            };
            for (table, _) in [a, b].into_iter().filter_map(|e| self.origin(e)) {
                most_rows = most_rows.max(self.table_rows(table));
            }
            let column = match b {
                Expr::Column { ordinal, .. } => Some(*ordinal),
                _ => None,
            };
            count += 1;
            let before = by_column.insert(column, most).unwrap_or(1.0);
            let kept = if column.is_some() { most.max(before) } else { most * before };
            by_column.insert(column, kept);
            share = share * before / kept;
        }
        if count > 1 { share.max(1.0 / most_rows) } else { share }
    }

    /// The rows of a logical tree, for choosing a join order before anything is lowered.
    pub fn rows(&self, rel: &Rel) -> f64 {
        let estimate = match rel {
            Rel::OneRow => 1.0,
            Rel::Empty { .. } => 0.0,
            Rel::Values { rows, .. } => rows.len() as f64,
            Rel::Table(t) => self.table_rows(t.table.id) * self.all(&t.filter),
            Rel::System { filter, .. } => 100.0 * self.all(filter),
            Rel::Function { .. } => 100.0,
            Rel::Filter { input, preds } => self.rows(input) * self.all(preds),
            Rel::Project { input, .. } | Rel::Sort { input, .. } | Rel::Window { input, .. } | Rel::Lock { input, .. } => self.rows(input),
            Rel::ProjectSet { input, .. } => self.rows(input) * 10.0,
            Rel::Join { left, right, kind, on } => {
                let (l, r) = (self.rows(left), self.rows(right));
                match kind {
                    JoinKind::Semi | JoinKind::Anti => l * 0.5,
                    _ => (l * r * self.all(on)).max(l.min(r)),
                }
            }
            Rel::Aggregate(a) => self.groups(a.groups.iter().map(|g| &g.1), self.rows(&a.input)),
            Rel::Limit { input, limit, .. } => {
                let n = limit.as_ref().and_then(constant_count).unwrap_or(f64::MAX);
                self.rows(input).min(n)
            }
            Rel::Distinct { input, .. } | Rel::DistinctOn { input, .. } => self.rows(input) * 0.3,
            Rel::SetOp { left, right, .. } => self.rows(left) + self.rows(right),
            Rel::With { body, .. } => self.rows(body),
            Rel::CteScan { .. } | Rel::WorkTable { .. } => 100.0,
            Rel::Recursive { base, .. } => self.rows(base) * 10.0,
            Rel::Insert(i) => self.rows(&i.source),
            Rel::Update(u) => self.rows(&u.source),
            Rel::Delete(d) => self.rows(&d.source),
        };
        estimate.max(if matches!(rel, Rel::Empty { .. }) { 0.0 } else { 1.0 })
    }

    /// How many groups `rows` rows make.
    pub fn groups<'e>(&self, groups: impl Iterator<Item = &'e Expr>, rows: f64) -> f64 {
        let mut out = 1.0;
        for group in groups {
            match self.distinct(group) {
                Some(n) => out *= n,
                None => return (rows * 0.1).max(1.0),
            }
        }
        out.min(rows).max(1.0)
    }
}
