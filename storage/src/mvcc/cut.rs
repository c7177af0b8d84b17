//! Cutting a span into parts of about the same size, so that several can read it at the same time.
//!
//! Keys between the first and the last one of the span are taken for numbers (eight bytes after what the two have in common), and a
//! binary search finds the number up to which the wanted share of the bytes on disk lies. That is exact enough for keys of any distribution, needs
//! no statistics, and reads two keys. A poor cut costs balance, never rows: parts are spans like any others.

use bytes::Bytes;

use super::Direction;
use super::format;
use crate::engine::{Engine, Result, Space};
use crate::key::{Key, Span};

/// Halvings of the search: the error is then a millionth of the number range, or what the engine's estimate is good for.
const HALVINGS: usize = 20;

/// Ascending keys inside of `span` that cut it into at most `parts` parts.
pub fn cuts(engine: &dyn Engine, span: &Span, parts: usize) -> Result<Vec<Key>> {
    let (Some(first), Some(last)) = (edge(engine, span, Direction::Forward)?, edge(engine, span, Direction::Reverse)?) else {
        return Ok(Vec::new());
    };
    let common = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
    let (low, high) = (number(&first[common..]), number(&last[common..]));
    if high - low < parts as u64 {
        return Ok(Vec::new());
    }
    let key = |n: u64| Key::from([&first[..common], &n.to_be_bytes()[..]].concat());
    let from = format::engine_bound(&first);
    let bytes_below = |n: u64| engine.approximate_size(Space::Data, &from, &format::engine_bound(&key(n)));
    let total = bytes_below(high)?;
    let mut out: Vec<Key> = Vec::new();
    for part in 1..parts as u64 {
        let share = |whole: u64| (u128::from(whole) * u128::from(part) / parts as u128) as u64;
        let mut n = low + share(high - low);
        // What has not reached a file yet has no size: then the numbers have to do.
        if total > 0 {
            let (mut below, mut above) = (low, high);
            for _ in 0..HALVINGS {
                n = below + (above - below) / 2;
                if bytes_below(n)? < share(total) { below = n } else { above = n }
            }
        }
        let cut = key(n);
        if cut > first && out.last().is_none_or(|before| cut > *before) && span.contains(&cut) {
            out.push(cut);
        }
    }
    Ok(out)
}

/// The first or last key of the span.
fn edge(engine: &dyn Engine, span: &Span, from: Direction) -> Result<Option<Bytes>> {
    let (lower, upper) = format::engine_span(span);
    let mut cursor = engine.cursor(Space::Data, &lower, &upper)?;
    match from {
        Direction::Forward => cursor.seek_to_first(),
        Direction::Reverse => cursor.seek_to_last(),
    }
    let Some((key, _)) = cursor.entry() else { return cursor.status().map(|()| None) };
    let (n, _) = format::split_data_key(key)?;
    Ok(Some(Bytes::copy_from_slice(format::user_key(&key[..n], &mut Vec::new())?)))
}

fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let n = bytes.len().min(8);
    first[..n].copy_from_slice(&bytes[..n]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::super::{AttemptId, put_version};
    use super::*;
    use crate::engine::Batch;
    use crate::memory::MemoryEngine;
    use meridian_clock::Timestamp;

    fn engine(keys: impl Iterator<Item = Vec<u8>>) -> MemoryEngine {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        keys.for_each(|key| put_version(&mut batch, &key, Timestamp::from_raw(5), AttemptId(1), Some(b"value")));
        engine.apply(&batch).unwrap();
        engine
    }

    fn part_sizes(engine: &MemoryEngine, parts: usize) -> Vec<usize> {
        let span = Span::all();
        let mut bounds = vec![span.start.clone()];
        bounds.extend(cuts(engine, &span, parts).unwrap());
        bounds.push(span.end.clone());
        let count = |part: Span| {
            let mut n = 0;
            super::super::scan(engine, &part, Timestamp::MAX, Direction::Forward, &mut |_, _| {
                n += 1;
                true
            })
            .unwrap();
            n
        };
        bounds.windows(2).map(|w| count(Span { start: w[0].clone(), end: w[1].clone() })).collect()
    }

    #[test]
    fn parts_are_even_for_even_and_for_crowded_keys() {
        let even = (0..1000u32).map(|i| [b"table".as_slice(), &i.to_be_bytes()].concat());
        // Nine tenths of the keys lie in a thousandth of the numbers.
        let crowded = (0..1000u32).map(|i| if i < 900 { i } else { 900 + (i - 900) * 10_000 }).map(|i| i.to_be_bytes().to_vec());
        for engine in [engine(even), engine(crowded)] {
            for parts in [2, 3, 4] {
                let sizes = part_sizes(&engine, parts);
                assert_eq!(sizes.iter().sum::<usize>(), 1000, "every row lies in one part");
                assert_eq!(sizes.len(), parts);
                assert!(sizes.iter().all(|n| n.abs_diff(1000 / parts) <= 20), "{sizes:?}");
            }
        }
    }

    #[test]
    fn little_is_not_cut() {
        assert_eq!(part_sizes(&engine(std::iter::empty()), 4), [0]);
        assert_eq!(part_sizes(&engine(std::iter::once(b"only".to_vec())), 4), [1]);
    }
}
