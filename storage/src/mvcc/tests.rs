//! MVCC against the simplest thing that works: a map from key to a map from timestamp to value.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::engine::Engine;
use crate::memory::MemoryEngine;

type Model = BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>;

/// Short keys of few bytes, zero and 0xff among them: prefixes of each other, neighbours, escapes.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let keys = proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xfe), Just(0xff)], 0..4);
    keys.prop_filter("KEY_MAX is above every key that is written", |key| key.as_slice() < crate::key::KEY_MAX)
}

type Row = (Vec<u8>, u64, Option<Vec<u8>>);

fn writes() -> impl Strategy<Value = Vec<Row>> {
    let value = proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..4));
    // Few keys and many versions, so that piles grow beyond what a scan steps over.
    proptest::collection::vec((key(), 1u64..40, value), 0..120)
}

fn load(writes: &[Row]) -> (MemoryEngine, Model) {
    let (engine, mut model) = (MemoryEngine::new(), Model::new());
    let mut batch = Batch::new();
    for (key, ts, value) in writes {
        put_version(&mut batch, key, Timestamp::from_raw(*ts), AttemptId(u128::from(*ts)), value.as_deref());
        model.entry(key.clone()).or_default().insert(*ts, value.clone());
    }
    engine.apply(&batch).unwrap();
    (engine, model)
}

fn visible<'a>(model: &'a Model, span: &'a Span, at: u64) -> impl DoubleEndedIterator<Item = Row> + 'a {
    model.iter().filter(|(k, _)| span.contains(k)).filter_map(move |(k, versions)| {
        let (ts, value) = versions.range(..=at).next_back()?;
        Some((k.clone(), *ts, value.clone()))
    })
}

fn scanned(reader: &dyn Reader, span: &Span, at: u64, direction: Direction, limit: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    if limit > 0 {
        scan(reader, span, Timestamp::from_raw(at), direction, &mut |key, version| {
            assert_eq!(version.writer, AttemptId(u128::from(version.ts.as_raw())));
            rows.push((key.to_vec(), version.ts.as_raw(), version.value.map(<[u8]>::to_vec)));
            rows.len() < limit
        })
        .unwrap();
    }
    rows
}

proptest! {
    #[test]
    fn reads_agree_with_the_model(
        writes in writes(), a in key(), b in key(), at in 0u64..42, limit in 1usize..30, probe in key(),
    ) {
        let (engine, model) = load(&writes);
        let span = if a <= b { Span::new(a, b) } else { Span::new(b, a) };
        for span in [span, Span::all(), Span::point(probe.clone()), Span::prefix(probe.clone())] {
            let expected: Vec<Row> = visible(&model, &span, at).take(limit).collect();
            prop_assert_eq!(scanned(&engine, &span, at, Direction::Forward, limit), expected);
            let expected: Vec<Row> = visible(&model, &span, at).rev().take(limit).collect();
            prop_assert_eq!(scanned(&engine, &span, at, Direction::Reverse, limit), expected);
            let newest = model.iter().filter(|(k, _)| span.contains(k)).filter_map(|(_, v)| v.keys().next_back().copied()).max();
            let found = newest_above(&engine, &span, Timestamp::from_raw(at)).unwrap();
            prop_assert_eq!(found.map(Timestamp::as_raw), newest.filter(|&ts| ts > at));
        }
        let got = get(&engine, &probe, Timestamp::from_raw(at)).unwrap().map(|v| (v.ts.as_raw(), v.value.map(|v| v.to_vec())));
        let expected = model.get(&probe).and_then(|v| v.range(..=at).next_back()).map(|(ts, v)| (*ts, v.clone()));
        prop_assert_eq!(got, expected);
    }

    /// What a read at or above the horizon sees never changes, whatever the limits; what nobody can see is gone in the end.
    #[test]
    fn collection_is_invisible_and_complete(writes in writes(), horizon in 0u64..42, removals_max in 1usize..10) {
        let (engine, model) = load(&writes);
        let live = |row: &Row| row.2.is_some();
        let before: Vec<Vec<Row>> =
            (horizon..42).map(|at| visible(&model, &Span::all(), at).filter(live).collect()).collect();
        let limits = CollectLimits { removals_max, visits_max: 7 };
        let mut span = Span::all();
        loop {
            let mut batch = Batch::new();
            let done = collect(&engine, &span, Timestamp::from_raw(horizon), limits, &mut batch).unwrap();
            prop_assert!(done.removed <= removals_max + 1);
            engine.apply(&batch).unwrap();
            let after: Vec<Vec<Row>> = (horizon..42)
                .map(|at| scanned(&engine, &Span::all(), at, Direction::Forward, usize::MAX).into_iter().filter(live).collect())
                .collect();
            prop_assert_eq!(&before, &after);
            match done.resume {
                Some(key) => span.start = key,
                None => break,
            }
        }
        let left: usize = model.values().map(|versions| {
            let above = versions.range(horizon + 1..).count();
            let shield = versions.range(..=horizon).next_back().is_some_and(|(_, v)| v.is_some());
            above + usize::from(shield)
        }).sum();
        let sum = checksum_state(&engine, &Span::all()).unwrap();
        prop_assert_eq!(sum.entries, left as u64);
    }

    #[test]
    fn a_span_is_resolved_as_its_keys_are(keys in proptest::collection::btree_map(key(), 0u8..8, 0..160), committed in any::<bool>(), others in any::<bool>(), a in key(), b in key()) {
        // One in eight belongs to another attempt, if there is one.
        let owner = |n: u8| if others && n == 0 { AttemptId(2) } else { AttemptId(1) };
        let (by_span, by_key) = (MemoryEngine::new(), MemoryEngine::new());
        let mut batch = Batch::new();
        for (key, n) in &keys {
            let value = (*n != 3).then(|| Bytes::copy_from_slice(key));
            put_intent(&mut batch, key, &Intent { attempt: owner(*n), anchor: Bytes::new(), ts: Timestamp::from_raw(9), value, portion: 1 });
        }
        by_span.apply(&batch).unwrap();
        by_key.apply(&batch).unwrap();
        let span = if a <= b { Span::new(a, b) } else { Span::new(b, a) };
        let at = committed.then(|| Timestamp::from_raw(11));
        let (mut one, mut many, mut expected) = (Batch::new(), Batch::new(), 0);
        let count = resolve_span(&by_span, &mut one, &span, AttemptId(1), at).unwrap();
        for (key, n) in keys.iter().filter(|(k, n)| span.contains(k) && owner(**n) == AttemptId(1)) {
            delete_intent(&mut many, key);
            if let Some(at) = at {
                put_version(&mut many, key, at, AttemptId(1), (*n != 3).then_some(&key[..]));
            }
            expected += 1;
        }
        by_span.apply(&one).unwrap();
        by_key.apply(&many).unwrap();
        prop_assert_eq!(count, expected);
        prop_assert_eq!(checksum_state(&by_span, &Span::all()).unwrap(), checksum_state(&by_key, &Span::all()).unwrap());
        let at_third = lock_portion(&by_key, &Span::all(), 3, usize::MAX).unwrap();
        prop_assert_eq!(lock_portion(&by_key, &Span::all(), usize::MAX, usize::MAX).unwrap(), None);
        let mut left = Vec::new();
        intents(&by_key, &Span::all(), &mut |key, _| { left.push(Bytes::copy_from_slice(key)); true }).unwrap();
        prop_assert_eq!(at_third, left.get(3).cloned());
        prop_assert_eq!(lock_portion(&by_key, &Span::all(), 100, 1).unwrap(), left.get(1).cloned());
        prop_assert_eq!(is_untouched(&by_span, &span).unwrap(), checksum_state(&by_span, &span).unwrap().entries == 0);
    }

    #[test]
    fn intents_and_records_stand_beside_the_data(keys in proptest::collection::btree_set(key(), 0..12), attempt in any::<u128>(), a in key(), b in key()) {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        let intent_of = |key: &[u8]| Intent {
            attempt: AttemptId(attempt), anchor: Bytes::from_static(b"an\0chor"), ts: Timestamp::from_raw(9), value: Some(Bytes::copy_from_slice(key)), portion: 0,
        };
        for key in &keys {
            put_intent(&mut batch, key, &intent_of(key));
            put_record(&mut batch, key, AttemptId(attempt), b"record");
            put_record(&mut batch, key, AttemptId(!attempt), b"");
        }
        engine.apply(&batch).unwrap();
        let span = if a <= b { Span::new(a, b) } else { Span::new(b, a) };
        let expected: Vec<(Vec<u8>, Intent)> = keys.iter().filter(|k| span.contains(k)).map(|k| (k.clone(), intent_of(k))).collect();
        let mut found = Vec::new();
        intents(&engine, &span, &mut |key, intent| { found.push((key.to_vec(), intent)); true }).unwrap();
        prop_assert_eq!(&found, &expected);
        let mut anchors = Vec::new();
        records(&engine, &span, &mut |key, id, _| { anchors.push((key.to_vec(), id)); true }).unwrap();
        let (low, high) = (AttemptId(attempt.min(!attempt)), AttemptId(attempt.max(!attempt)));
        prop_assert_eq!(anchors, expected.iter().flat_map(|(k, _)| [(k.clone(), low), (k.clone(), high)]).collect::<Vec<_>>());
        let mut batch = Batch::new();
        for key in &keys {
            prop_assert_eq!(intent(&engine, key).unwrap(), Some(intent_of(key)));
            prop_assert_eq!(record(&engine, key, AttemptId(attempt)).unwrap(), Some(Bytes::from_static(b"record")));
            delete_intent(&mut batch, key);
            delete_record(&mut batch, key, AttemptId(!attempt));
        }
        engine.apply(&batch).unwrap();
        for key in &keys {
            prop_assert_eq!(intent(&engine, key).unwrap(), None);
            prop_assert_eq!(record(&engine, key, AttemptId(!attempt)).unwrap(), None);
            prop_assert!(record(&engine, key, AttemptId(attempt)).unwrap().is_some());
        }
    }

    #[test]
    fn a_flipped_bit_is_found(value in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u64>()) {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        put_version(&mut batch, b"k", Timestamp::from_raw(5), AttemptId(1), Some(&value));
        engine.apply(&batch).unwrap();
        let engine_key = format::data_key(b"k", Timestamp::from_raw(5));
        assert!(engine.corrupt(Space::Data, &engine_key, &mut meridian_clock::Entropy::seeded(seed).rng()));
        prop_assert!(matches!(get(&engine, b"k", Timestamp::MAX), Err(crate::StorageError::Corruption(_))));
    }
}

#[test]
fn checksums_tell_replicas_apart() {
    let rows = [(b"a".to_vec(), 1, Some(b"x".to_vec())), (b"b".to_vec(), 2, None), (b"c".to_vec(), 3, Some(b"y".to_vec()))];
    let (left, _) = load(&rows);
    let (right, _) = load(&rows);
    let at = |engine: &MemoryEngine, ts| checksum(engine, &Span::all(), Timestamp::from_raw(ts)).unwrap();
    assert_eq!(at(&left, 9), at(&right, 9));
    let mut batch = Batch::new();
    put_version(&mut batch, b"c", Timestamp::from_raw(8), AttemptId(8), Some(b"y"));
    right.apply(&batch).unwrap();
    assert_eq!(at(&left, 7), at(&right, 7), "what came later does not count");
    assert_ne!(at(&left, 8), at(&right, 8));
    assert_ne!(checksum_state(&left, &Span::all()).unwrap(), checksum_state(&right, &Span::all()).unwrap());
}
