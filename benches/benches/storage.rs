//! What one layer down costs: codecs, MVCC point reads and scans on RocksDB, and a synced append.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use meridian_clock::Timestamp;
use meridian_storage::encoding::{self, Order};
use meridian_storage::mvcc::{self, AttemptId, Direction};
use meridian_storage::row::{ColumnValue, RowReader, RowWriter, columns_equal};
use meridian_storage::{Batch, Engine, RocksEngine, RocksOptions, Space, Span};

const ROWS: i64 = 100_000;

fn key(n: i64) -> Vec<u8> {
    let mut out = vec![0x10];
    encoding::put_int(&mut out, 104, Order::Ascending);
    encoding::put_int(&mut out, 1, Order::Ascending);
    encoding::put_int(&mut out, n, Order::Ascending);
    out
}

fn row(n: i64) -> Vec<u8> {
    let mut writer = RowWriter::with_capacity(128);
    writer.push(2, ColumnValue::Int(n % 100));
    writer.push(3, ColumnValue::Int(n * 7));
    writer.push(4, ColumnValue::Null);
    writer.push(5, ColumnValue::Bytes(&[b'x'; 84]));
    writer.finish()
}

fn codec(c: &mut Criterion) {
    c.bench_function("codec/key_write", |b| b.iter(|| key(black_box(123_456))));
    let encoded = key(123_456);
    c.bench_function("codec/key_read", |b| b.iter(|| encoding::read_int(black_box(&encoded[1..]), Order::Ascending)));
    let text = b"a customer name of usual length";
    c.bench_function("codec/text_write", |b| {
        b.iter_batched_ref(Vec::new, |out| encoding::put_bytes(out, black_box(text), Order::Ascending), BatchSize::SmallInput);
    });
    c.bench_function("codec/row_write", |b| b.iter(|| row(black_box(42))));
    let (one, two) = (row(42), row(142));
    c.bench_function("codec/row_find", |b| b.iter(|| RowReader::new(black_box(&one)).find(5)));
    c.bench_function("codec/row_iterate", |b| b.iter(|| RowReader::new(black_box(&one)).iter().count()));
    c.bench_function("codec/columns_equal", |b| b.iter(|| columns_equal(black_box(&one), black_box(&two), &[2, 5])));
}

/// A table in files, its hottest tenth written again in the memtable.
fn loaded(dir: &std::path::Path) -> RocksEngine {
    let engine = RocksEngine::open(dir, &RocksOptions::default()).expect("a fresh store opens");
    for chunk in 0..ROWS / 1000 {
        let mut batch = Batch::new();
        (chunk * 1000..(chunk + 1) * 1000).for_each(|n| {
            mvcc::put_version(&mut batch, &key(n), Timestamp::from_raw(1000), AttemptId(n as u128), Some(&row(n)));
        });
        engine.apply(&batch).expect("applies");
    }
    engine.flush().expect("flushes");
    let mut batch = Batch::new();
    (0..ROWS / 10).for_each(|n| mvcc::put_version(&mut batch, &key(n * 10), Timestamp::from_raw(2000), AttemptId(7), Some(&row(n))));
    engine.apply(&batch).expect("applies");
    engine
}

fn mvcc_reads(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = loaded(dir.path());
    let mut n = 0;
    let mut next = move || {
        n = (n + 7919) % ROWS;
        n
    };
    c.bench_function("mvcc/get", |b| b.iter_batched(&mut next, |n| mvcc::get(&engine, &key(n), Timestamp::MAX), BatchSize::SmallInput));
    let mut batches = c.benchmark_group("mvcc/get_many_100");
    batches.throughput(Throughput::Elements(100));
    let keys: Vec<Vec<u8>> = (0..100).map(|n| key(n * 997 % ROWS)).collect();
    batches.bench_function("scattered", |b| {
        b.iter(|| mvcc::get_many(&engine, keys.iter().map(Vec::as_slice), Timestamp::MAX));
    });
    batches.finish();
    c.bench_function("mvcc/get_absent", |b| b.iter(|| mvcc::get(&engine, black_box(&key(-5)), Timestamp::MAX)));
    c.bench_function("mvcc/intent_absent", |b| b.iter_batched(&mut next, |n| mvcc::intent(&engine, &key(n)), BatchSize::SmallInput));
    c.bench_function("mvcc/intents_absent_in_span", |b| {
        let span = Span::new(key(50_000), key(51_000));
        b.iter(|| mvcc::intents(&engine, black_box(&span), &mut |_, _| true));
    });
    c.bench_function("mvcc/newest_above_point", |b| {
        b.iter_batched(&mut next, |n| mvcc::newest_above(&engine, &Span::point(key(n)), Timestamp::from_raw(1500)), BatchSize::SmallInput);
    });
    let mut group = c.benchmark_group("mvcc/scan_1000");
    group.throughput(Throughput::Elements(1000));
    let span = Span::new(key(50_000), key(51_000));
    for (name, direction) in [("forward", Direction::Forward), ("reverse", Direction::Reverse)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut bytes = 0;
                mvcc::scan(&engine, &span, Timestamp::MAX, direction, &mut |key, version| {
                    bytes += key.len() + version.value.map_or(0, <[u8]>::len);
                    true
                })
                .expect("scans");
                bytes
            });
        });
    }
    group.finish();
    c.bench_function("engine/apply_one_row", |b| {
        b.iter_batched(
            || {
                let mut batch = Batch::new();
                mvcc::put_version(&mut batch, &key(next()), Timestamp::from_raw(3000), AttemptId(9), Some(&row(1)));
                batch
            },
            |batch| engine.apply(&batch),
            BatchSize::SmallInput,
        );
    });
    let mut index = 0u64;
    c.bench_function("engine/append_and_sync", |b| {
        b.iter(|| {
            index += 1;
            let mut batch = Batch::new();
            batch.put(Space::Log, index.to_be_bytes().to_vec(), vec![1; 200]);
            engine.append(&batch).and_then(|()| engine.sync())
        });
    });
}

criterion_group!(benches, codec, mvcc_reads);
criterion_main!(benches);
