//! For every type: key order is value order, and every form reads back what was written.

use std::cmp::Ordering;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::functions::SessionView;
use crate::types::{Array, DataType, Datum, Interval, Io, Jsonb, Numeric, compare_typed, parse_binary, parse_text, to_text, write_binary};

fn session() -> SessionView {
    SessionView {
        user: "root".into(),
        session_user: "root".into(),
        database: "defaultdb".into(),
        search_path: vec![],
        timezone: "America/New_York".into(),
        datestyle: "ISO, MDY".into(),
        intervalstyle: "postgres".into(),
        extra_float_digits: 1,
        bytea_escape: false,
        backend_pid: 1,
        settings: Default::default(),
    }
}

fn numeric() -> impl Strategy<Value = Numeric> {
    prop_oneof![
        8 => (any::<i128>(), 0u32..40).prop_map(|(c, s)| Numeric::Finite(c.into(), s)),
        8 => (-200i64..200, 0u32..4).prop_map(|(c, s)| Numeric::Finite(c.into(), s)),
        1 => Just(Numeric::NaN),
        1 => Just(Numeric::Infinity),
        1 => Just(Numeric::NegInfinity),
    ]
}

fn text() -> impl Strategy<Value = Arc<str>> {
    "[a-b \\\\\"{},\u{1}\u{e9}N]{0,6}".prop_map(Arc::from)
}

fn jsonb() -> impl Strategy<Value = Jsonb> {
    let finite = (any::<i64>(), 0u32..5).prop_map(|(c, s)| Numeric::Finite(c.into(), s));
    let leaf = prop_oneof![
        Just(Jsonb::Null),
        any::<bool>().prop_map(Jsonb::Bool),
        finite.prop_map(Jsonb::Number),
        text().prop_map(Jsonb::String),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Jsonb::Array),
            proptest::collection::vec((text(), inner), 0..4).prop_map(Jsonb::object),
        ]
    })
}

fn scalar(ty: DataType) -> BoxedStrategy<Datum> {
    match ty {
        DataType::BOOL => any::<bool>().prop_map(Datum::Bool).boxed(),
        DataType::INT2 => any::<i16>().prop_map(Datum::Int2).boxed(),
        DataType::INT4 => any::<i32>().prop_map(Datum::Int4).boxed(),
        DataType::INT8 => prop_oneof![any::<i64>(), -300i64..300].prop_map(Datum::Int8).boxed(),
        DataType::FLOAT4 => any::<f32>().prop_map(|f| Datum::Float4(if f.is_nan() { f32::NAN } else { f })).boxed(),
        DataType::FLOAT8 => any::<f64>().prop_map(|f| Datum::Float8(if f.is_nan() { f64::NAN } else { f })).boxed(),
        DataType::NUMERIC => numeric().prop_map(|n| Datum::Numeric(Arc::new(n))).boxed(),
        DataType::CHAR_INTERNAL => (1u8..127).prop_map(Datum::Char).boxed(),
        DataType::BYTEA => proptest::collection::vec(any::<u8>(), 0..6).prop_map(|b| Datum::Bytea(b.into())).boxed(),
        DataType::DATE => prop_oneof![
            4 => (-2_451_545i32..100_000_000).prop_map(Datum::Date),
            1 => prop_oneof![Just(i32::MIN), Just(i32::MAX)].prop_map(Datum::Date)
        ]
        .boxed(),
        DataType::TIME => (0i64..86_400_000_000).prop_map(Datum::Time).boxed(),
        DataType::TIMETZ => (0i64..86_400_000_000, -57_599i32..57_600).prop_map(|(t, z)| Datum::TimeTz(t, z)).boxed(),
        DataType::TIMESTAMP => timestamp().prop_map(Datum::Timestamp).boxed(),
        DataType::TIMESTAMPTZ => timestamp().prop_map(Datum::TimestampTz).boxed(),
        DataType::INTERVAL => (any::<i32>(), any::<i32>(), -(1i64 << 60)..(1i64 << 60))
            .prop_map(|(months, days, micros)| Datum::Interval(Interval { months, days, micros }))
            .boxed(),
        DataType::UUID => any::<[u8; 16]>().prop_map(|u| Datum::Uuid(Arc::new(u))).boxed(),
        DataType::JSONB => jsonb().prop_map(|j| Datum::Jsonb(Arc::new(j))).boxed(),
        DataType::OID => any::<u32>().prop_map(Datum::Oid).boxed(),
        _ => text().prop_map(Datum::Text).boxed(),
    }
}

/// The offset of a zone before standard time has seconds; PostgreSQL prints and reads them, so all of history is fair.
fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -211_813_488_000_000_000i64 + 86_400_000_000..9_223_371_331_200_000_000 - 86_400_000_000,
        4 => -3_000_000_000_000_000i64..3_000_000_000_000_000,
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX)],
    ]
}

fn array(element: DataType) -> BoxedStrategy<Datum> {
    let value = prop_oneof![1 => Just(Datum::Null), 5 => scalar(element)];
    (0i32..3, 1i32..3, -2i32..3)
        .prop_flat_map(move |(rows, columns, lower)| {
            proptest::collection::vec(value.clone(), (rows * columns) as usize).prop_map(move |elements| {
                let dims = if elements.is_empty() { vec![] } else { vec![(rows, lower), (columns, 1)] };
                Datum::Array(Arc::new(Array { element, dims, elements }))
            })
        })
        .boxed()
}

const TYPES: &[DataType] = &[
    DataType::BOOL,
    DataType::INT2,
    DataType::INT4,
    DataType::INT8,
    DataType::FLOAT4,
    DataType::FLOAT8,
    DataType::NUMERIC,
    DataType::CHAR_INTERNAL,
    DataType::BYTEA,
    DataType::DATE,
    DataType::TIME,
    DataType::TIMETZ,
    DataType::TIMESTAMP,
    DataType::TIMESTAMPTZ,
    DataType::INTERVAL,
    DataType::UUID,
    DataType::JSONB,
    DataType::OID,
    DataType::TEXT,
    DataType::VARCHAR,
    DataType::BPCHAR,
    DataType::NAME,
];

fn typed_pair() -> impl Strategy<Value = (DataType, Datum, Datum)> {
    (0..TYPES.len(), any::<bool>()).prop_flat_map(|(i, arrays)| {
        let (ty, values) = if arrays { (TYPES[i].array_of(), array(TYPES[i])) } else { (TYPES[i], scalar(TYPES[i])) };
        let maybe = prop_oneof![1 => Just(Datum::Null), 9 => values];
        (Just(ty), maybe.clone(), maybe)
    })
}

/// The value to the bit, for types whose equality is looser.
fn exact(d: &Datum) -> Vec<u8> {
    let mut out = Vec::new();
    encode_datum(d, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn key_order_is_value_order((ty, a, b) in typed_pair(), desc in any::<bool>(), nulls_first in any::<bool>()) {
        let key = |d: &Datum| { let mut out = Vec::new(); encode_key(ty, d, desc, nulls_first, &mut out).unwrap(); out };
        let expected = match (a.is_null(), b.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => if nulls_first { Ordering::Less } else { Ordering::Greater },
            (false, true) => if nulls_first { Ordering::Greater } else { Ordering::Less },
            _ if desc => compare_typed(ty, &b, &a),
            _ => compare_typed(ty, &a, &b),
        };
        prop_assert_eq!(key(&a).cmp(&key(&b)), expected);
        let mut bytes = key(&a);
        bytes.push(0x55);
        let (back, rest) = decode_key(ty, &bytes, desc).unwrap();
        prop_assert_eq!(rest, &[0x55][..]);
        prop_assert_eq!(compare_typed(ty, &back, &a), Ordering::Equal);
        if key_is_lossless(ty) {
            prop_assert_eq!(exact(&back), exact(&a));
        }
    }

    #[test]
    fn rows_and_wire_forms_read_back((ty, a, b) in typed_pair()) {
        let mut row = Vec::new();
        encode_row(&[(1, ty, &a), (7, ty, &b)], &mut row);
        let mut out = [Datum::Bool(true), Datum::Bool(true), Datum::Bool(true)];
        decode_row(&row, &[(1, ty), (3, ty), (7, ty)], &mut out).unwrap();
        prop_assert_eq!(exact(&out[0]), exact(&a));
        prop_assert_eq!(exact(&out[1]), exact(&Datum::Bool(true)));
        prop_assert_eq!(exact(&out[2]), exact(&b));
        let bytes = exact(&a);
        let mut input = &bytes[..];
        prop_assert_eq!(exact(&decode_datum(&mut input).unwrap()), exact(&a));
        prop_assert!(input.is_empty());
        if !a.is_null() {
            let mut wire = Vec::new();
            write_binary(&a, ty, &mut wire);
            prop_assert_eq!(exact(&parse_binary(ty, -1, &wire).unwrap()), exact(&a));
        }
    }

    #[test]
    fn text_reads_back((ty, a, _) in typed_pair(), style in 0usize..4, interval in 0usize..4) {
        let mut session = session();
        session.datestyle = ["ISO, MDY", "SQL, DMY", "Postgres, MDY", "German, DMY"][style].into();
        session.intervalstyle = ["postgres", "postgres_verbose", "sql_standard", "iso_8601"][interval].into();
        if style != 0 {
            // Named zones are printed by ambiguous abbreviations in these styles.
            session.timezone = "UTC".into();
        }
        if !a.is_null() {
            let text = to_text(&a, ty, &session);
            let back = parse_text(ty, -1, &text, Io::from(&session)).map_err(|e| TestCaseError::fail(format!("{text}: {e:?}")))?;
            prop_assert_eq!(exact(&back), exact(&a), "{}", text);
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_value(bytes in proptest::collection::vec(any::<u8>(), 0..40), i in 0..TYPES.len()) {
        let _ = decode_datum(&mut &bytes[..]);
        let _ = decode_key(TYPES[i], &bytes, false);
        let _ = parse_binary(TYPES[i], -1, &bytes);
        let _ = parse_binary(TYPES[i].array_of(), -1, &bytes);
        let _ = decode_row(&bytes, &[(1, TYPES[i])], &mut [Datum::Null]);
        let s = session();
        let _ = parse_text(TYPES[i], -1, &String::from_utf8_lossy(&bytes), &s);
    }
}
