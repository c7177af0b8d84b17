//! One suite for both sides of the disk seam: what `meridian_storage::engine` promises, asked of RocksDB and of the simulator's disk.
//!
//! A crash of RocksDB is a copy of its directory while it runs: exactly the bytes that a killed process leaves, without those
//! still in its memory. One test does it with a real process and SIGKILL.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::{Entropy, Rng, Timestamp};
use meridian_storage::mvcc::{self, AttemptId, Direction};
use meridian_storage::{Batch, Engine, MemoryEngine, Reader, RocksEngine, RocksOptions, Space, Span, StorageError};
use proptest::prelude::*;
use rand::Rng as _;

/// A disk that can be crashed.
trait Disk {
    fn engine(&self) -> &dyn Engine;
    fn crash(&mut self, rng: &mut Rng);
    fn fill(&self, full: bool);
}

struct Memory(MemoryEngine);

impl Disk for Memory {
    fn engine(&self) -> &dyn Engine {
        &self.0
    }
    fn crash(&mut self, rng: &mut Rng) {
        self.0 = self.0.crash(rng);
    }
    fn fill(&self, full: bool) {
        self.0.set_capacity(full.then_some(0));
    }
}

struct Rocks {
    engine: RocksEngine,
    dir: tempfile::TempDir,
}

fn small() -> RocksOptions {
    RocksOptions { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, min_free_bytes: 1 << 20, ..RocksOptions::default() }
}

impl Rocks {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Rocks { engine: RocksEngine::open(dir.path(), &small()).unwrap(), dir }
    }
}

impl Disk for Rocks {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }
    fn crash(&mut self, _: &mut Rng) {
        let copy = tempfile::tempdir().unwrap();
        copy_store(self.dir.path(), copy.path());
        *self = Rocks { engine: RocksEngine::open(copy.path(), &small()).unwrap(), dir: copy };
    }
    fn fill(&self, full: bool) {
        self.engine.set_min_free_bytes(if full { u64::MAX / 2 } else { 1 << 20 });
    }
}

/// Copies until nothing has changed meanwhile: RocksDB's threads may add and remove files.
fn copy_store(from: &Path, to: &Path) {
    loop {
        let before = listing(from);
        let copied = copy_dir(from, to);
        if copied.is_ok() && before == listing(from) {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
        std::fs::create_dir(to).unwrap();
    }
}

fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().chain(std::fs::read_dir(dir.join("rocks")).unwrap()).map_while(Result::ok) {
        files.push((entry.path(), entry.metadata().map_or(0, |m| m.len())));
    }
    files.sort();
    files
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_dir(&entry.path(), &target)?;
        } else if entry.file_name() != "LOCK" && !entry.file_name().to_string_lossy().starts_with("LOG") {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs a check on both engines.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod memory { $(#[test] fn $name() { super::$name(&mut super::Memory(meridian_storage::MemoryEngine::new())); })* }
        mod rocks { $(#[test] fn $name() { super::$name(&mut super::Rocks::new()); })* }
    };
}

on_both!(
    cursors_keep_to_their_bounds,
    a_snapshot_is_frozen_over_all_spaces,
    deletes_and_ranges_happen_in_order,
    appends_survive_once_synced,
    state_survives_once_flushed_and_all_of_one_moment,
    a_full_disk_refuses_and_recovers,
    versions_read_alike,
    sizes_and_counters_move,
);

fn key(n: u32) -> Bytes {
    Bytes::from(format!("k{n:05}"))
}

fn pairs(reader: &dyn Reader, space: Space, lower: &[u8], upper: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = reader.cursor(space, lower, upper).unwrap();
    let mut out = Vec::new();
    cursor.seek_to_first();
    while cursor.valid() {
        out.push((cursor.key().to_vec(), cursor.value().to_vec()));
        cursor.next();
    }
    cursor.status().unwrap();
    out
}

fn everything(reader: &dyn Reader, space: Space) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs(reader, space, b"", &[0xff; 16])
}

fn cursors_keep_to_their_bounds(disk: &mut impl Disk) {
    let engine = disk.engine();
    for space in Space::ALL {
        let mut batch = Batch::new();
        (0..10).for_each(|n| batch.put(space, key(n * 2), format!("{space:?}{n}")));
        if space == Space::Log { engine.append(&batch).unwrap() } else { engine.apply(&batch).unwrap() }
    }
    for space in Space::ALL {
        assert_eq!(engine.get(space, &key(4)).unwrap().unwrap(), format!("{space:?}2"));
        assert_eq!(engine.get(space, &key(5)).unwrap(), None);
        let mut cursor = engine.cursor(space, &key(4), &key(12)).unwrap();
        assert!(!cursor.valid(), "stands nowhere until a seek");
        let mut at = |go: &dyn Fn(&mut dyn meridian_storage::Cursor)| {
            go(&mut *cursor);
            cursor.valid().then(|| String::from_utf8(cursor.key().to_vec()).unwrap())
        };
        let is = |n: u32| Some(format!("k{n:05}"));
        assert_eq!(at(&|c| c.seek_to_first()), is(4));
        assert_eq!(at(&|c| c.prev()), None);
        assert_eq!(at(&|c| c.seek_to_last()), is(10));
        assert_eq!(at(&|c| c.next()), None);
        assert_eq!(at(&|c| c.seek(&key(0))), is(4), "clamped to the lower bound");
        assert_eq!(at(&|c| c.seek(&key(5))), is(6));
        assert_eq!(at(&|c| c.next()), is(8));
        assert_eq!(at(&|c| c.seek(&key(12))), None);
        assert_eq!(at(&|c| c.seek_for_prev(&key(99))), is(10), "clamped to the upper bound");
        assert_eq!(at(&|c| c.seek_for_prev(&key(7))), is(6));
        assert_eq!(at(&|c| c.seek_for_prev(&key(6))), is(6));
        assert_eq!(at(&|c| c.prev()), is(4));
        assert_eq!(at(&|c| c.seek_for_prev(&key(3))), None);
        assert!(pairs(engine, space, &key(9), &key(9)).is_empty());
        assert!(pairs(engine, space, &key(9), &key(2)).is_empty());
        assert_eq!(engine.first_in(space, &key(3), &key(9)).unwrap().unwrap().0, key(4));
        assert_eq!(engine.first_in(space, &key(3), &key(4)).unwrap(), None);
    }
}

fn a_snapshot_is_frozen_over_all_spaces(disk: &mut impl Disk) {
    let engine = disk.engine();
    let write = |value: &'static str| {
        let (mut log, mut state) = (Batch::new(), Batch::new());
        log.put(Space::Log, "k", value);
        [Space::Data, Space::Lock, Space::Meta].into_iter().for_each(|space| state.put(space, "k", value));
        engine.append(&log).unwrap();
        engine.apply(&state).unwrap();
    };
    write("old");
    let snapshot = engine.snapshot();
    let mut cursor = engine.cursor(Space::Data, b"", b"z").unwrap();
    write("new");
    for space in Space::ALL {
        assert_eq!(snapshot.get(space, b"k").unwrap().unwrap(), "old");
        assert_eq!(everything(&*snapshot, space)[0].1, b"old");
        assert_eq!(snapshot.first_in(space, b"a", b"z").unwrap().unwrap().1, "old");
        assert_eq!(engine.get(space, b"k").unwrap().unwrap(), "new");
    }
    cursor.seek_to_first();
    assert_eq!(cursor.value(), b"old", "a cursor stands on the state it was made from");
}

fn deletes_and_ranges_happen_in_order(disk: &mut impl Disk) {
    let engine = disk.engine();
    for many in [10, 2_000] {
        let mut batch = Batch::new();
        (0..many).for_each(|n| batch.put(Space::Data, key(n), "v"));
        engine.apply(&batch).unwrap();
        let mut batch = Batch::new();
        batch.delete_range(Space::Data, key(2), key(many - 2));
        batch.delete_range(Space::Data, key(5), key(5));
        batch.put(Space::Data, key(3), "again");
        batch.delete(Space::Data, key(0));
        batch.delete(Space::Data, "absent");
        engine.apply(&batch).unwrap();
        let mut batch = Batch::new();
        batch.put(Space::Data, key(4), "doomed");
        batch.delete_range(Space::Data, key(4), key(6));
        engine.apply(&batch).unwrap();
        let keys: Vec<_> = everything(engine, Space::Data).into_iter().map(|(k, _)| Bytes::from(k)).collect();
        assert_eq!(keys, [key(1), key(3), key(many - 2), key(many - 1)]);
        let mut batch = Batch::new();
        batch.delete_range(Space::Data, "", "z");
        engine.apply(&batch).unwrap();
        assert!(everything(engine, Space::Data).is_empty());
    }
}

fn appends_survive_once_synced(disk: &mut impl Disk) {
    let mut rng = Entropy::seeded(7).rng();
    for round in 0..4 {
        for n in 0..50 {
            let mut batch = Batch::new();
            batch.put(Space::Log, key(round * 100 + n), vec![n as u8; 100]);
            disk.engine().append(&batch).unwrap();
            if n == 30 {
                disk.engine().sync().unwrap();
            }
        }
        disk.crash(&mut rng);
        let found: Vec<_> = pairs(disk.engine(), Space::Log, &key(round * 100), &key(round * 100 + 99));
        assert!((31..=50).contains(&found.len()), "{}", found.len());
        for (n, (k, v)) in found.into_iter().enumerate() {
            assert_eq!((k.as_slice(), v), (key(round * 100 + n as u32).as_ref(), vec![n as u8; 100]), "no holes");
        }
    }
}

/// Every batch writes all three state spaces; what a crash leaves must be one moment at or after the last flush.
fn state_survives_once_flushed_and_all_of_one_moment(disk: &mut impl Disk) {
    let mut rng = Entropy::seeded(11).rng();
    let mut history: Vec<BTreeMap<Bytes, u64>> = vec![BTreeMap::new()];
    for _ in 0..6 {
        let mut flushed = history.len() - 1;
        for _ in 0..rng.random_range(1..200) {
            match rng.random_range(0..80) {
                0 => {
                    disk.engine().flush().unwrap();
                    flushed = history.len() - 1;
                }
                1..8 => {
                    let mut batch = Batch::new();
                    batch.put(Space::Log, "entry", vec![0; 1000]);
                    disk.engine().append(&batch).unwrap();
                    disk.engine().sync().unwrap();
                }
                _ => {
                    let moment = history.len() as u64;
                    let k = key(rng.random_range(0..20));
                    let (mut batch, mut next) = (Batch::new(), history.last().unwrap().clone());
                    for space in [Space::Data, Space::Lock] {
                        batch.put(space, k.clone(), moment.to_be_bytes().repeat(4000));
                    }
                    batch.put(Space::Meta, "applied", moment.to_be_bytes().to_vec());
                    next.insert(k, moment);
                    disk.engine().apply(&batch).unwrap();
                    history.push(next);
                }
            }
        }
        disk.crash(&mut rng);
        let applied = disk.engine().get(Space::Meta, b"applied").unwrap();
        let moment = applied.map_or(0, |v| u64::from_be_bytes(v.as_ref().try_into().unwrap())) as usize;
        assert!(moment >= flushed, "flushed at {flushed}, found {moment}");
        for space in [Space::Data, Space::Lock] {
            let found: BTreeMap<Bytes, u64> = everything(disk.engine(), space)
                .into_iter()
                .map(|(k, v)| (Bytes::from(k), u64::from_be_bytes(v[..8].try_into().unwrap())))
                .collect();
            assert_eq!(found, history[moment], "{space:?} is not of the moment {moment}");
        }
        history.truncate(moment + 1);
    }
}

fn a_full_disk_refuses_and_recovers(disk: &mut impl Disk) {
    let put = |k: &'static str| {
        let mut batch = Batch::new();
        batch.put(Space::Log, k, "v");
        batch
    };
    disk.engine().append(&put("a")).unwrap();
    disk.engine().sync().unwrap();
    disk.fill(true);
    assert!(matches!(disk.engine().append(&put("b")), Err(StorageError::DiskFull(_))));
    assert_eq!(disk.engine().get(Space::Log, b"a").unwrap().unwrap(), "v", "reads go on");
    assert_eq!(disk.engine().get(Space::Log, b"b").unwrap(), None, "refused means not written");
    disk.engine().sync().unwrap();
    disk.engine().flush().unwrap();
    disk.fill(false);
    disk.engine().append(&put("b")).unwrap();
    disk.engine().sync().unwrap();
    disk.crash(&mut Entropy::seeded(1).rng());
    assert_eq!(everything(disk.engine(), Space::Log).len(), 2);
}

/// MVCC over this engine, against the in-memory one, which has its own property test against a model. Through memtables and files.
fn versions_read_alike(disk: &mut impl Disk) {
    let reference = MemoryEngine::new();
    let mut rng = Entropy::seeded(3).rng();
    let keys: Vec<Vec<u8>> =
        (0..40u32).map(|n| if n % 3 == 0 { n.to_be_bytes().to_vec() } else { format!("key{n}").into_bytes() }).collect();
    let any_key = |rng: &mut Rng| keys[rng.random_range(0..keys.len())].clone();
    for round in 0..6u64 {
        let mut batch = Batch::new();
        for i in 0..60 {
            let ts = Timestamp::from_raw(round * 1000 + i + 1);
            let value = rng.random_bool(0.8).then(|| vec![i as u8; rng.random_range(0..300)]);
            mvcc::put_version(&mut batch, &any_key(&mut rng), ts, AttemptId(u128::from(i)), value.as_deref());
        }
        reference.apply(&batch).unwrap();
        disk.engine().apply(&batch).unwrap();
        if round % 2 == 1 {
            disk.engine().flush().unwrap();
        }
        let snapshot = disk.engine().snapshot();
        for reader in [disk.engine() as &dyn Reader, &*snapshot] {
            for _ in 0..100 {
                let (key, at) = (any_key(&mut rng), Timestamp::from_raw(rng.random_range(0..6100)));
                assert_eq!(mvcc::get(reader, &key, at).unwrap(), mvcc::get(&reference, &key, at).unwrap());
                assert_eq!(mvcc::get(reader, b"absent", at).unwrap(), None);
                let (mut a, mut b) = (any_key(&mut rng), any_key(&mut rng));
                if a > b {
                    std::mem::swap(&mut a, &mut b);
                }
                let span = Span::new(a, b);
                let scan = |reader: &dyn Reader, direction| {
                    let mut rows = Vec::new();
                    let mut visit = |k: &[u8], v: mvcc::VersionRef<'_>| {
                        rows.push((k.to_vec(), v.ts, v.writer, v.value.map(<[u8]>::to_vec)));
                        true
                    };
                    mvcc::scan(reader, &span, at, direction, &mut visit).unwrap();
                    rows
                };
                for direction in [Direction::Forward, Direction::Reverse] {
                    assert_eq!(scan(reader, direction), scan(&reference, direction));
                }
                for span in [&span, &Span::point(key)] {
                    assert_eq!(mvcc::newest_above(reader, span, at).unwrap(), mvcc::newest_above(&reference, span, at).unwrap());
                }
            }
            assert_eq!(mvcc::checksum_state(reader, &Span::all()).unwrap(), mvcc::checksum_state(&reference, &Span::all()).unwrap());
        }
    }
}

fn sizes_and_counters_move(disk: &mut impl Disk) {
    let engine = disk.engine();
    let mut batch = Batch::new();
    let mut rng = Entropy::seeded(5).rng();
    (0..1000).for_each(|n| batch.put(Space::Data, key(n), (0..200).map(|_| rng.random()).collect::<Vec<u8>>()));
    engine.apply(&batch).unwrap();
    engine.flush().unwrap();
    let (half, all) = (engine.approximate_size(Space::Data, &key(0), &key(500)), engine.approximate_size(Space::Data, &key(0), &key(1000)));
    let (half, all) = (half.unwrap(), all.unwrap());
    assert!(all > 150_000 && half > all / 4 && half < all * 3 / 4, "{half} of {all}");
    assert_eq!(engine.approximate_size(Space::Data, &key(9), &key(3)).unwrap(), 0);
    let counters: BTreeMap<_, _> = engine.counters().into_iter().collect();
    assert!(counters["bytes_applied"] >= 200_000 && counters["flushes"] == 1 && counters["free_bytes"] > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Both engines agree under any mixture of writes.
    #[test]
    fn rocks_equals_memory(ops in proptest::collection::vec((0..4u8, 0..30u32, 0..30u32, any::<u8>()), 1..120)) {
        let (rocks, memory) = (Rocks::new(), MemoryEngine::new());
        for chunk in ops.chunks(5) {
            let mut batch = Batch::new();
            for &(op, a, b, value) in chunk {
                match op {
                    0 => batch.delete(Space::Lock, key(a)),
                    1 => batch.delete_range(Space::Lock, key(a), key(b)),
                    _ => batch.put(Space::Lock, key(a), vec![value; 3]),
                }
            }
            rocks.engine.apply(&batch).unwrap();
            memory.apply(&batch).unwrap();
            prop_assert_eq!(everything(&rocks.engine, Space::Lock), everything(&memory, Space::Lock));
        }
    }
}

/// The filters are why a point read of a key that is not in a file costs next to nothing.
#[test]
fn point_reads_skip_files_without_the_key() {
    let rocks = Rocks::new();
    for file in 0..4 {
        let mut batch = Batch::new();
        (0..100u32).for_each(|n| {
            mvcc::put_version(&mut batch, format!("{n:04}-{file}").as_bytes(), Timestamp::from_raw(5), AttemptId(1), Some(b"v"))
        });
        rocks.engine.apply(&batch).unwrap();
        rocks.engine.flush().unwrap();
    }
    let skips = || rocks.engine.counters().into_iter().find(|(name, _)| *name == "filter_skips").unwrap().1;
    let before = skips();
    for n in 0..50u32 {
        let absent = format!("{n:04}-absent");
        assert_eq!(mvcc::get(&rocks.engine, absent.as_bytes(), Timestamp::MAX).unwrap(), None);
        assert_eq!(mvcc::newest_above(&rocks.engine, &Span::point(absent), Timestamp::ZERO).unwrap(), None);
    }
    assert!(skips() - before >= 90, "{}", skips() - before);
}

#[test]
fn a_store_is_opened_once_and_damage_is_refused() {
    let rocks = Rocks::new();
    let id = rocks.engine.store_id();
    assert!(matches!(RocksEngine::open(rocks.dir.path(), &small()), Err(StorageError::Io(m)) if m.contains("in use")));
    let mut batch = Batch::new();
    (0..100).for_each(|n| batch.put(Space::Meta, key(n), "applied state survives a clean close"));
    rocks.engine.apply(&batch).unwrap();
    let Rocks { engine, dir } = rocks;
    drop(engine);
    let engine = RocksEngine::open(dir.path(), &small()).unwrap();
    assert_eq!(engine.store_id(), id);
    assert_eq!(everything(&engine, Space::Meta).len(), 100);
    drop(engine);
    let database = dir.path().join("rocks");
    let current = database.join("CURRENT");
    let kept = std::fs::read(&current).unwrap();
    std::fs::remove_file(&current).unwrap();
    assert!(RocksEngine::open(dir.path(), &small()).is_err(), "a lost manifest is damage, not a new store");
    std::fs::write(&current, kept).unwrap();
    for entry in std::fs::read_dir(&database).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            let len = bytes.len();
            bytes[..len / 2].iter_mut().for_each(|b| *b ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let outcome = RocksEngine::open(dir.path(), &small()).and_then(|engine| engine.get(Space::Meta, &key(7)));
    assert!(matches!(outcome, Err(StorageError::Corruption(_))), "{outcome:?}");
}

const CHILD_DIR: &str = "MERIDIAN_TEST_CHILD_DIR";

/// The body of the killed process; does nothing in an ordinary run.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let engine = RocksEngine::open(&dir, &small()).unwrap();
    for n in 0..u32::MAX {
        let (mut log, mut state) = (Batch::new(), Batch::new());
        log.put(Space::Log, key(n), vec![1; 200]);
        engine.append(&log).unwrap();
        engine.sync().unwrap();
        println!("\nsynced {n}");
        for space in [Space::Data, Space::Lock, Space::Meta] {
            state.put(space, "applied", n.to_be_bytes().to_vec());
        }
        engine.apply(&state).unwrap();
        if n % 40 == 39 {
            engine.flush().unwrap();
            println!("\nflushed {n}");
        }
    }
}

#[test]
fn sigkill_loses_nothing_that_was_promised() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    for stop in [5, 90, 170] {
        std::fs::remove_dir_all(dir.path()).unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (mut synced, mut flushed) = (None, None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut note = |line: String| {
            let number = |prefix| line.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
            synced = number("synced ").or(synced);
            flushed = number("flushed ").or(flushed);
            synced
        };
        for line in lines.by_ref() {
            if note(line) >= Some(stop) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| {
            note(line);
        });
        let engine: Arc<dyn Engine> = Arc::new(RocksEngine::open(dir.path(), &small()).unwrap());
        let entries = everything(&*engine, Space::Log);
        assert!(entries.len() as u32 > synced.unwrap(), "{} entries, synced {synced:?}", entries.len());
        let applied = |space| engine.get(space, b"applied").unwrap().map(|v| u32::from_be_bytes(v.as_ref().try_into().unwrap()));
        assert!(applied(Space::Meta) >= flushed);
        assert!(applied(Space::Data) == applied(Space::Meta) && applied(Space::Lock) == applied(Space::Meta));
    }
}
