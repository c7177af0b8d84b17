//! A store, a catalog with two tables, and short ways to make plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use meridian_clock::{Clock, Entropy, Rng, SimulatedClock, TaskGroup};
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::{Kv, KvTxn, TxnOptions};
use meridian_txn::solo;

use crate::catalog::descriptor::*;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError};
use crate::exec::fk::DeferredChecks;
use crate::exec::program::SqlPrograms;
use crate::exec::sequence::Sequences;
use crate::exec::*;
use crate::functions::{CatalogLookup, FunctionDef, SessionView, resolve_function, resolve_operator};
use crate::plan::expr::{Expr, FunctionRef};
use crate::plan::node::*;
use crate::types::{DataType, Datum};

pub const INT4: DataType = DataType::INT4;
pub const TEXT: DataType = DataType::TEXT;

pub struct Fixture {
    pub kv: Arc<dyn Kv>,
    pub catalog: Arc<CatalogSnapshot>,
    pub budget: usize,
}

struct Nothing;

impl CatalogLookup for Nothing {
    fn relation_oid(&self, _: &str, _: &[String]) -> Option<u32> {
        None
    }
    fn relation_name(&self, _: u32, _: &[String]) -> Option<String> {
        None
    }
    fn schema_oid(&self, _: &str) -> Option<u32> {
        None
    }
    fn schema_name(&self, _: u32) -> Option<String> {
        None
    }
    fn role_oid(&self, _: &str) -> Option<u32> {
        None
    }
    fn role_name(&self, _: u32) -> Option<String> {
        None
    }
    fn definition(&self, _: &str, _: u32, _: i32) -> Option<String> {
        None
    }
    fn system_function(&self, _: &str, _: &[Datum]) -> Option<Result<Datum>> {
        None
    }
}

#[async_trait]
impl SystemTables for Nothing {
    async fn rows(&self, table: &'static str, _: &Arc<CatalogSnapshot>, _: &SessionView) -> Result<Vec<Vec<Datum>>> {
        Err(SqlError::internal(format!("no system table {table}")))
    }
}

#[async_trait]
impl ExecutorFunctions for Nothing {
    async fn call(&mut self, function: &'static FunctionDef, _: &[Datum]) -> Result<Datum> {
        Err(SqlError::internal(format!("no function {}", function.name)))
    }
}

impl TableExpressions for Nothing {
    fn row_checks(&self, _: &RelationDescriptor) -> Result<Arc<RowChecks>> {
        Ok(Arc::default())
    }
    fn column_default(&self, _: &RelationDescriptor, _: u32) -> Result<Expr> {
        Ok(Expr::Const { value: Datum::Null, ty: INT4 })
    }
}

fn column(id: u32, name: &str, ty: DataType, not_null: bool) -> ColumnDescriptor {
    ColumnDescriptor {
        id,
        name: name.into(),
        ty,
        typmod: -1,
        not_null,
        default: None,
        identity: None,
        generated: None,
        owned_sequence: None,
        missing_value: None,
        hidden: false,
        comment: None,
    }
}

fn index(id: u32, name: &str, unique: bool, columns: &[(u32, bool)]) -> IndexDescriptor {
    IndexDescriptor {
        id,
        oid: 20000 + id,
        name: name.into(),
        unique,
        keys: columns.iter().map(|(column, desc)| IndexKey { column: *column, descending: *desc, nulls_first: *desc }).collect(),
        include: Vec::new(),
        predicate: None,
        state: IndexState::Public,
        constraint: None,
    }
}

fn relation(id: Oid, name: &str, table: TableDescriptor) -> Arc<RelationDescriptor> {
    Arc::new(RelationDescriptor {
        id,
        database: DEFAULT_DATABASE_OID,
        schema: PUBLIC_SCHEMA_OID,
        name: name.into(),
        owner: ROOT_ROLE_OID,
        version: 1,
        comment: None,
        kind: RelationKind::Table(table),
    })
}

/// `t (a int4 primary key, b int4, c text not null)`, `t_b` on (b desc), `t_c_key` unique on (c); `child (x int4 primary key, a int4 references t)`;
/// sequence `s`.
fn catalog() -> Arc<CatalogSnapshot> {
    let t = TableDescriptor {
        columns: vec![column(1, "a", INT4, true), column(2, "b", INT4, false), column(3, "c", TEXT, true)],
        next_column: 4,
        primary: index(1, "t_pkey", true, &[(1, false)]),
        indexes: vec![index(2, "t_b", false, &[(2, true)]), index(3, "t_c_key", true, &[(3, false)])],
        next_index: 4,
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: vec![101],
        storage_id: 100,
    };
    let child = TableDescriptor {
        columns: vec![column(1, "x", INT4, true), column(2, "a", INT4, false)],
        next_column: 3,
        primary: index(1, "child_pkey", true, &[(1, false)]),
        indexes: Vec::new(),
        next_index: 2,
        checks: Vec::new(),
        foreign_keys: vec![ForeignKeyDescriptor {
            oid: 300,
            name: "child_a_fkey".into(),
            columns: vec![2],
            referenced_table: 100,
            referenced_columns: vec![1],
            on_delete: ReferentialAction::Cascade,
            on_update: ReferentialAction::NoAction,
            match_full: false,
            deferrable: false,
            initially_deferred: false,
            validated: true,
        }],
        referenced_by: Vec::new(),
        storage_id: 101,
    };
    let mut sequence = (*relation(102, "s", child.clone())).clone();
    sequence.kind = RelationKind::Sequence(SequenceDescriptor {
        ty: DataType::INT8,
        start: 1,
        increment: 2,
        min: 1,
        max: 9,
        cache: 2,
        cycle: false,
        owned_by: None,
    });
    let relations: BTreeMap<_, _> =
        [(100, relation(100, "t", t)), (101, relation(101, "child", child)), (102, Arc::new(sequence))].into_iter().collect();
    Arc::new(CatalogSnapshot { version: 1, relations, ..CatalogSnapshot::default() })
}

impl Fixture {
    pub fn new() -> Self {
        let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
        let clock = Clock::new(physical).expect("a simulated clock starts");
        let kv: Arc<dyn Kv> = solo::start(Arc::new(MemoryEngine::new()), clock, &Entropy::seeded(7), TaskGroup::new());
        kv.register_programs(Arc::new(SqlPrograms));
        Fixture { kv, catalog: catalog(), budget: memory::DEFAULT_WORK_MEM_BYTES }
    }

    pub fn table(&self, name: &str) -> Arc<RelationDescriptor> {
        self.catalog.relations.values().find(|r| r.name == name).expect("a fixture table").clone()
    }

    /// Runs a plan in a transaction that stays open.
    pub async fn run_in(&self, txn: &mut dyn KvTxn, autocommit: bool, plan: Plan) -> Result<(Vec<Vec<Datum>>, u64)> {
        let mut rng: Rng = Entropy::seeded(1).rng();
        let (mut functions, mut sequences, mut deferred) = (Nothing, Sequences::default(), DeferredChecks::default());
        txn.begin_statement();
        let mut cx = ExecContext {
            txn,
            kv: self.kv.clone(),
            params: Arc::from([]),
            session: Arc::new(value::neutral_session().clone()),
            catalog: self.catalog.clone(),
            lookup: Arc::new(Nothing),
            system: Arc::new(Nothing),
            functions: &mut functions,
            expressions: Arc::new(Nothing),
            sequences: &mut sequences,
            deferred: &mut deferred,
            rng: &mut rng,
            cancel: CancelToken::default(),
            memory: MemoryBudget::new(self.budget),
            spill: SpillArea::new(std::env::temp_dir(), spill::DEFAULT_SPILL_BYTES),
            transaction_micros: 0,
            statement_micros: 0,
            lock_timeout: None,
            autocommit,
            state: ExecState::default(),
        };
        let mut execution = open(&Arc::new(plan));
        let mut rows = Vec::new();
        while let Some(batch) = execution.next(&mut cx).await? {
            rows.extend(batch.rows().map(<[Datum]>::to_vec));
        }
        Ok((rows, execution.affected()))
    }

    /// Runs a plan in a transaction of its own.
    pub async fn run(&self, plan: Plan) -> Result<(Vec<Vec<Datum>>, u64)> {
        let mut txn = self.kv.begin(TxnOptions::default());
        let result = self.run_in(&mut *txn, true, plan).await;
        match result {
            Ok(rows) => {
                txn.commit().await.map_err(|e| match &e {
                    meridian_txn::api::KvError::KeyExists { key } => dml::unique_violation_of(&self.catalog, key),
                    _ => e.into(),
                })?;
                Ok(rows)
            }
            Err(error) => {
                txn.rollback().await;
                Err(error)
            }
        }
    }

    pub async fn rows(&self, plan: Plan) -> Vec<Vec<Datum>> {
        self.run(plan).await.expect("the plan runs").0
    }
}

pub fn plan(node: Node, types: &[DataType]) -> Plan {
    let columns = types.iter().map(|ty| OutputColumn { name: "c".into(), ty: *ty, typmod: -1, origin: None }).collect();
    Plan { node, columns, rows: 1.0, cost: 1.0 }
}

pub fn col(ordinal: usize, ty: DataType) -> Expr {
    Expr::Column { ordinal, ty }
}

pub fn int(value: i32) -> Expr {
    Expr::Const { value: Datum::Int4(value), ty: INT4 }
}

pub fn null() -> Expr {
    Expr::Const { value: Datum::Null, ty: INT4 }
}

pub fn text(value: &str) -> Expr {
    Expr::Const { value: Datum::Text(value.into()), ty: TEXT }
}

pub fn op(name: &str, left: Expr, right: Expr) -> Expr {
    let call = resolve_operator(name, Some(left.ty()), right.ty()).expect("an operator").call;
    Expr::Call { function: FunctionRef(call.def), args: vec![left, right], ty: call.returns }
}

pub fn function(name: &str, args: &[DataType]) -> FunctionRef {
    FunctionRef(resolve_function(name, args, false).expect("a function").def)
}

pub fn values(rows: Vec<Vec<Expr>>, types: &[DataType]) -> Plan {
    plan(Node::Values { rows }, types)
}

pub fn key(expr: Expr, descending: bool) -> SortKey {
    SortKey { expr, descending, nulls_first: descending }
}

/// A scan of all columns of a table through an index.
pub fn scan(table: &Arc<RelationDescriptor>, index: u32, ranges: Vec<IndexRange>, filter: Option<Expr>) -> Scan {
    let descriptor = table.table().expect("a table");
    Scan {
        table: table.clone(),
        index,
        ranges,
        reverse: false,
        columns: descriptor.columns.iter().map(|c| c.id).collect(),
        fetch_primary: index != descriptor.primary.id,
        filter,
        limit: None,
        aggregate: None,
        lock: None,
        derived: Default::default(),
    }
}

pub fn scan_plan(scan: Scan) -> Plan {
    let table = scan.table.table().expect("a table");
    let types: Vec<DataType> = scan.columns.iter().map(|id| table.column(*id).expect("a column").ty).collect();
    plan(Node::Scan(Box::new(scan)), &types)
}

pub fn insert(table: &Arc<RelationDescriptor>, source: Plan) -> Insert {
    let columns = table.table().expect("a table").columns.iter().map(|c| c.id).collect();
    Insert {
        table: table.clone(),
        source,
        columns,
        checks: RowChecks::default(),
        conflict: None,
        returning: None,
        derived: Default::default(),
    }
}

pub fn call(name: &str, args: Vec<Expr>) -> AggregateCall {
    let types: Vec<DataType> = args.iter().map(Expr::ty).collect();
    let resolved = resolve_function(name, &types, false).expect("an aggregate");
    AggregateCall { function: FunctionRef(resolved.def), args, distinct: false, order: Vec::new(), filter: None, ty: resolved.returns }
}

pub fn shown(rows: &[Vec<Datum>]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            let fields: Vec<String> = row.iter().map(|d| value::to_text(d, d.natural_type(), value::neutral_session())).collect();
            fields.join(" ")
        })
        .collect()
}
