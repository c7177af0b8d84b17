//! Whole statements in one process, from the bound portal to the encoded rows: what a client's statement costs above the socket and below it all.
//! RocksDB is real, replication is `solo`'s stand-in: reads never meet it.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use meridian::wire::backend::{self, Scratch};
use meridian_clock::{Clock, Entropy, SharedHostClock, TaskGroup};
use meridian_sql::error::{Result, SqlError};
use meridian_sql::front;
use meridian_sql::session::api::{Field, ResultSink, SessionStart};
use meridian_sql::session::{Database, Session};
use meridian_sql::types::{DataType, Datum, Io};
use meridian_storage::{RocksEngine, RocksOptions};
use meridian_txn::solo;
use tokio::runtime::Runtime;

/// Encodes rows as the wire does and throws them away.
#[derive(Default)]
struct Encoding {
    output: BytesMut,
    fields: Option<Arc<[Field]>>,
    scratch: Scratch,
}

#[async_trait]
impl ResultSink for Encoding {
    async fn begin(&mut self, fields: &Arc<[Field]>) -> Result<()> {
        self.fields = Some(fields.clone());
        Ok(())
    }
    async fn rows(&mut self, datums: &[Datum], io: Io<'_>) -> Result<()> {
        let fields = self.fields.clone().ok_or_else(|| SqlError::internal("rows before their description"))?;
        for row in datums.chunks_exact(fields.len()) {
            backend::data_row(&mut self.output, &fields, row, &io, &mut self.scratch);
        }
        Ok(())
    }
    async fn empty_rows(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
    async fn complete(&mut self, _: &str) -> Result<()> {
        black_box(&self.output);
        self.output.clear();
        Ok(())
    }
    async fn empty(&mut self) -> Result<()> {
        Ok(())
    }
    async fn notice(&mut self, _: &'static str, _: &SqlError) -> Result<()> {
        Ok(())
    }
    async fn parameter(&mut self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
    async fn copy_out(&mut self, _: bool, _: usize) -> Result<()> {
        Ok(())
    }
    async fn copy_data(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }
    async fn copy_done(&mut self) -> Result<()> {
        Ok(())
    }
    async fn copy_in(&mut self, _: bool, _: usize) -> Result<()> {
        Err(SqlError::internal("nothing is copied here"))
    }
    async fn copy_next(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
    fn mark(&mut self) {}
    fn rewind(&mut self) -> bool {
        false
    }
}

const TABLES: [&str; 5] = [
    "create table item (id int primary key, k int not null, grp int, name text, price float8)",
    "create index item_k on item (k)",
    "insert into item select g, (g * 7919) % 100003, g % 100, 'item number ' || g, g / 7.0 from generate_series(1, 60000) g",
    "create table grp (id int primary key, title text)",
    "insert into grp select g, 'group ' || g from generate_series(0, 99) g",
];

async fn session(dir: &std::path::Path) -> Session {
    let engine = Arc::new(RocksEngine::open(dir.join("store"), &RocksOptions::default()).expect("a fresh store opens"));
    let clock = Clock::new(Arc::new(SharedHostClock)).expect("the host has a clock");
    let node = solo::start(engine.clone(), clock, &Entropy::seeded(1), TaskGroup::new());
    let db = Database::new(node, Entropy::seeded(2), dir.join("spill"));
    db.bootstrap().await.expect("a first catalog");
    let start = SessionStart { user: "root".into(), database: "defaultdb".into(), ..SessionStart::default() };
    let mut session = Session::open(db, start, 1).await.expect("root may log in");
    for sql in TABLES {
        session.simple_query(sql, &mut Encoding::default()).await.unwrap_or_else(|e| panic!("{sql}: {}", e.message));
    }
    meridian_storage::Engine::flush(&*engine).expect("flushes");
    session.simple_query("analyze", &mut Encoding::default()).await.expect("analyzes");
    session
}

/// One execution of a prepared statement: Bind, Execute, Sync.
async fn run(session: &mut Session, sink: &mut Encoding, name: &str, values: &[i32]) {
    let values: Vec<Option<Bytes>> = values.iter().map(|v| Some(Bytes::from(v.to_string()))).collect();
    session.bind("", name, &[], &values, &[]).await.expect("binds");
    session.execute("", 0, true, sink).await.expect("executes");
    session.sync(sink).await.expect("commits");
}

fn statements(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let mut session = runtime.block_on(session(dir.path()));
    let mut sink = Encoding::default();
    let mut n = 0;
    let mut next = move || {
        n = (n + 7919) % 59_000;
        n
    };
    let cases: [(&str, &str, usize, u64); 6] = [
        ("point_read", "select name from item where id = $1", 1, 1),
        ("index_lookup", "select id, name from item where k = $1", 1, 1),
        ("range_scan_100", "select id, k, name from item where id between $1 and $1 + 99", 1, 100),
        ("aggregate_60000", "select grp, count(*), sum(price), max(name) from item group by grp", 0, 60_000),
        ("hash_join_60000", "select title, count(*) from item join grp on grp.id = item.grp group by title", 0, 60_000),
        ("lookup_join_1000", "select count(j.price) from item i join item j on j.k = i.id where i.id between 1 and 1000", 0, 1000),
    ];
    let mut group = c.benchmark_group("statement");
    for (name, sql, parameters, rows) in cases {
        runtime.block_on(session.parse(name, sql, &[])).unwrap_or_else(|e| panic!("{sql}: {}", e.message));
        group.throughput(Throughput::Elements(rows));
        group.bench_function(name, |b| {
            b.iter(|| {
                let value = next();
                runtime.block_on(run(&mut session, &mut sink, name, &[value][..parameters]));
            });
        });
    }
    group.finish();
}

fn wire(c: &mut Criterion) {
    let field = |name: &str, ty| Field { name: name.into(), table: 0, column: 0, ty, typmod: -1, format: Default::default() };
    let fields = [field("id", DataType::INT4), field("name", DataType::TEXT), field("price", DataType::FLOAT8)];
    let row = [Datum::Int4(123_456), Datum::text("a customer name of usual length"), Datum::Float8(17.25)];
    let (mut output, mut scratch) = (BytesMut::new(), Scratch::default());
    let io = Io { session: meridian_sql::exec::value::neutral_session(), now: None, catalog: None };
    c.bench_function("wire/data_row", |b| {
        b.iter(|| {
            output.clear();
            backend::data_row(&mut output, &fields, black_box(&row), &io, &mut scratch);
            output.len()
        });
    });
    c.bench_function("front/parse", |b| b.iter(|| front::parse(black_box("select name from item where id = $1")).map(|s| s.len())));
}

criterion_group!(benches, statements, wire);
criterion_main!(benches);
