//! For every type: encoded order is value order, either way, and what is read is what was written. Tuples too.

use std::cmp::Ordering;

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;

const ORDERS: [Order; 2] = [Order::Ascending, Order::Descending];

fn in_order(order: Order, ordering: Ordering) -> Ordering {
    match order {
        Order::Ascending => ordering,
        Order::Descending => ordering.reverse(),
    }
}

/// Encodes `a` and `b` with some bytes behind them, checks the order of the encodings and reads both back.
fn check<T: PartialEq + std::fmt::Debug>(
    a: &T,
    b: &T,
    ordering: Ordering,
    put: impl Fn(&mut Vec<u8>, &T, Order),
    read: impl Fn(&[u8], Order) -> Result<(T, Vec<u8>), EncodingError>,
) -> Result<(), TestCaseError> {
    for order in ORDERS {
        let encode = |value: &T| {
            let mut out = Vec::new();
            put(&mut out, value, order);
            out
        };
        let (x, y) = (encode(a), encode(b));
        prop_assert_eq!(x.cmp(&y), in_order(order, ordering), "{:?} and {:?} {:?}", a, b, order);
        prop_assert!(ordering == Ordering::Equal || (!x.starts_with(&y) && !y.starts_with(&x)), "self-delimiting");
        prop_assert!((0x10..=0xef).contains(&x[0]), "NULLs stand on either side");
        for value in [a, b] {
            let mut bytes = encode(value);
            bytes.extend_from_slice(b"rest");
            let (found, rest) = read(&bytes, order).unwrap();
            prop_assert_eq!((&found, rest.as_slice()), (value, b"rest".as_slice()));
            for cut in 0..bytes.len() - b"rest".len() {
                prop_assert!(read(&bytes[..cut], order).is_err(), "cut at {}", cut);
            }
        }
    }
    Ok(())
}

/// Adapts a reader to owned rests.
macro_rules! owned {
    ($read:ident) => {
        |bytes: &[u8], order| $read(bytes, order).map(|(value, rest)| (value, rest.to_vec()))
    };
}

fn int() -> impl Strategy<Value = i64> {
    // Every length and its edges.
    prop_oneof![
        any::<i64>(),
        -300i64..300,
        (0u32..64, -2i64..3).prop_map(|(shift, near)| (1i64 << shift).wrapping_add(near)),
        (0u32..64, -2i64..3).prop_map(|(shift, near)| (-1i64 << shift).wrapping_add(near))
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        (-3i8..4).prop_map(f64::from)
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(0xfe), Just(0xff), any::<u8>()], 0..6)
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let digits = proptest::collection::vec(prop_oneof![2 => Just(0u8), 3 => 0u8..10], 0..7);
    prop_oneof![
        12 => (any::<bool>(), -3i64..4, digits).prop_map(|(negative, exponent, digits)| Decimal::Finite { negative, exponent, digits: SmallVec::from_vec(digits) }),
        1 => Just(Decimal::NegativeInfinity),
        1 => Just(Decimal::Infinity),
        1 => Just(Decimal::NaN),
    ]
}

/// The rank among the special values, and the finite value in units of 10^-12.
fn numeric(value: &Decimal) -> (i8, i128) {
    match value {
        Decimal::NegativeInfinity => (-1, 0),
        Decimal::Infinity => (1, 0),
        Decimal::NaN => (2, 0),
        Decimal::Finite { negative, exponent, digits } => {
            let mut sum = 0;
            for (i, digit) in digits.iter().enumerate() {
                sum += i128::from(*digit) * 10i128.pow((exponent - 1 - i as i64 + 12) as u32);
            }
            (0, if *negative { -sum } else { sum })
        }
    }
}

fn normal(value: &Decimal) -> Decimal {
    let Decimal::Finite { negative, exponent, digits } = value else { return value.clone() };
    let mut digits: Vec<u8> = digits.to_vec();
    let leading = digits.iter().take_while(|&&d| d == 0).count();
    digits.drain(..leading);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let zero = digits.is_empty();
    Decimal::Finite {
        negative: *negative && !zero,
        exponent: if zero { 0 } else { exponent - leading as i64 },
        digits: SmallVec::from_vec(digits),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn integers(a in int(), b in int()) {
        check(&a, &b, a.cmp(&b), |out, v, order| put_int(out, *v, order), owned!(read_int))?;
        let (a, b) = (i128::from(a) * i128::from(b), i128::from(b));
        check(&a, &b, a.cmp(&b), |out, v, order| put_wide(out, *v, order), owned!(read_wide))?;
    }

    #[test]
    fn wide_integers(a in any::<i128>(), shift in 0u32..128, near in -1i128..2) {
        let b = (a >> shift).wrapping_add(near);
        check(&a, &b, a.cmp(&b), |out, v, order| put_wide(out, *v, order), owned!(read_wide))?;
    }

    #[test]
    fn bools(a in any::<bool>(), b in any::<bool>()) {
        check(&a, &b, a.cmp(&b), |out, v, order| put_bool(out, *v, order), owned!(read_bool))?;
    }

    #[test]
    fn floats(a in float(), b in float()) {
        let ordering = match (a.is_nan(), b.is_nan()) {
            (false, false) => a.partial_cmp(&b).unwrap(),
            (x, y) => x.cmp(&y),
        };
        // NaN is not equal to itself and −0 comes back as 0: compare what is read by its bits in the one form.
        let form = |v: f64| if v.is_nan() { f64::NAN.abs().to_bits() } else { (v + 0.0).to_bits() };
        check(&form(a), &form(b), ordering, |out, v, order| put_float(out, f64::from_bits(*v), order),
            |bytes, order| read_float(bytes, order).map(|(v, rest)| (v.to_bits(), rest.to_vec())))?;
        let mut canonical = Vec::new();
        put_float(&mut canonical, a, Order::Ascending);
        put_float(&mut canonical, f64::from_bits(form(a)), Order::Ascending);
        prop_assert_eq!(&canonical[..9], &canonical[9..]);
        let single = a as f32;
        canonical.clear();
        put_float(&mut canonical, f64::from(single), Order::Descending);
        let back = read_float(&canonical, Order::Descending).unwrap().0 as f32;
        prop_assert!(back == single || (back.is_nan() && single.is_nan()));
    }

    #[test]
    fn byte_strings(a in bytes(), b in bytes()) {
        check(&a, &b, a.cmp(&b), |out, v, order| put_bytes(out, v, order), owned!(read_bytes))?;
        for order in ORDERS {
            let (mut whole, mut prefix) = (Vec::new(), Vec::new());
            put_bytes(&mut whole, &a, order);
            put_bytes_prefix(&mut prefix, &b, order);
            prop_assert_eq!(whole.starts_with(&prefix), a.starts_with(&b));
        }
    }

    #[test]
    fn uuids(a in any::<[u8; 16]>(), b in any::<[u8; 16]>()) {
        check(&a, &b, a.cmp(&b), put_uuid, owned!(read_uuid))?;
    }

    #[test]
    fn decimals(a in decimal(), b in decimal()) {
        check(&normal(&a), &normal(&b), numeric(&a).cmp(&numeric(&b)), put_decimal, owned!(read_decimal))?;
        for order in ORDERS {
            let (mut written, mut normalised) = (Vec::new(), Vec::new());
            put_decimal(&mut written, &a, order);
            put_decimal(&mut normalised, &normal(&a), order);
            prop_assert_eq!(written, normalised, "zeros at the ends do not change the key");
        }
    }

    /// Arrays of nullable strings, as PostgreSQL orders them: element by element, NULL above every value, a prefix first.
    #[test]
    fn arrays(a in proptest::collection::vec(proptest::option::weighted(0.8, bytes()), 0..4), b in proptest::collection::vec(proptest::option::weighted(0.8, bytes()), 0..4)) {
        let put_array = |out: &mut Vec<u8>, value: &Vec<Option<Vec<u8>>>, order: Order| {
            put_array_start(out, order);
            for element in value {
                put_array_element(out, order);
                match element {
                    Some(bytes) => put_bytes(out, bytes, order),
                    None => put_null(out, order.default_nulls()),
                }
            }
            put_array_end(out, order);
        };
        let read_array = |bytes: &[u8], order| {
            let mut value = Vec::new();
            let ((), mut rest) = read_array_start(bytes, order)?;
            loop {
                let (more, next) = read_array_element(rest, order)?;
                if !more {
                    return Ok((value, next.to_vec()));
                }
                rest = match read_null(next) {
                    Some(rest) => { value.push(None); rest }
                    None => { let (bytes, rest) = read_bytes(next, order)?; value.push(Some(bytes)); rest }
                };
            }
        };
        let rank = |v: &Vec<Option<Vec<u8>>>| v.iter().map(|e| (e.is_none(), e.clone())).collect::<Vec<_>>();
        check(&a, &b, rank(&a).cmp(&rank(&b)), put_array, read_array)?;
    }

    /// Two nullable columns, each with its own order and its own place for NULLs.
    #[test]
    fn tuples(a in (proptest::option::of(int()), proptest::option::of(bytes())), b in (proptest::option::of(int()), proptest::option::of(bytes())),
        first in any::<(bool, bool)>(), second in any::<(bool, bool)>()) {
        let order = |(descending, _): (bool, bool)| if descending { Order::Descending } else { Order::Ascending };
        let nulls = |(_, last): (bool, bool)| if last { Nulls::Last } else { Nulls::First };
        let encode = |(x, y): &(Option<i64>, Option<Vec<u8>>)| {
            let mut out = Vec::new();
            match x { Some(x) => put_int(&mut out, *x, order(first)), None => put_null(&mut out, nulls(first)) }
            match y { Some(y) => put_bytes(&mut out, y, order(second)), None => put_null(&mut out, nulls(second)) }
            out
        };
        fn compare<T: Ord>(a: &Option<T>, b: &Option<T>, order: Order, nulls: Nulls) -> Ordering {
            match (a, b) {
                (Some(a), Some(b)) => in_order(order, a.cmp(b)),
                (a, b) => {
                    let natural = a.is_none().cmp(&b.is_none());
                    if nulls == Nulls::Last { natural } else { natural.reverse() }
                }
            }
        }
        let expected = compare(&a.0, &b.0, order(first), nulls(first)).then_with(|| compare(&a.1, &b.1, order(second), nulls(second)));
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), expected);
    }

    /// Arbitrary bytes are refused or read; nothing panics and nothing is read past the end.
    #[test]
    fn garbage_is_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for order in ORDERS {
            let _ = (read_int(&bytes, order), read_bool(&bytes, order), read_float(&bytes, order), read_bytes(&bytes, order));
            let _ = (read_uuid(&bytes, order), read_wide(&bytes, order), read_decimal(&bytes, order), read_array_element(&bytes, order));
        }
    }
}

#[test]
fn small_keys_are_small_and_hold_no_zero() {
    for value in [0i64, 1, -1, 103, -104, 255] {
        let mut out = Vec::new();
        put_int(&mut out, value, Order::Ascending);
        assert!(out.len() <= 2 && !out.contains(&0), "{value}: {out:02x?}");
    }
    let mut out = Vec::new();
    put_bytes(&mut out, b"a\0b\x01c\x02", Order::Ascending);
    assert_eq!(out, [0x30, b'a', 2, 1, b'b', 2, 2, b'c', 2, 3, 1]);
}
