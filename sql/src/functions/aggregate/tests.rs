//! Merging partials gives what one pass gives, for every aggregate that has partials; and some answers of PostgreSQL 15.

use proptest::prelude::*;

use crate::functions::{Accumulator, FunctionBody, FunctionDef, all_functions, resolve_function};
use crate::types::{Array, DataType, Datum, Interval, Numeric};

fn fresh(def: &FunctionDef, types: &[DataType]) -> Box<dyn Accumulator> {
    let FunctionBody::Aggregate { new, .. } = def.body else { panic!("{} is no aggregate", def.name) };
    new(types)
}

/// A small value of a type from a number; None for types without a generator.
fn value(ty: DataType, n: i32) -> Option<Datum> {
    if n % 7 == 0 {
        return Some(Datum::Null);
    }
    Some(match ty {
        DataType::BOOL => Datum::Bool(n % 2 == 0),
        DataType::INT2 => Datum::Int2(n as i16),
        DataType::INT4 => Datum::Int4(n),
        DataType::INT8 => Datum::Int8(i64::from(n) << 20),
        DataType::FLOAT4 => Datum::Float4(n as f32),
        DataType::FLOAT8 => Datum::Float8(f64::from(n)),
        DataType::NUMERIC => Datum::Numeric(std::sync::Arc::new(Numeric::Finite(n.into(), n.unsigned_abs() % 4))),
        DataType::TEXT | DataType::BPCHAR => Datum::text(n.to_string()),
        DataType::DATE => Datum::Date(n),
        DataType::TIME => Datum::Time(i64::from(n.unsigned_abs())),
        DataType::TIMESTAMP => Datum::Timestamp(n.into()),
        DataType::TIMESTAMPTZ => Datum::TimestampTz(n.into()),
        DataType::INTERVAL => Datum::Interval(Interval { months: n % 5, days: n % 3, micros: n.into() }),
        DataType::OID => Datum::Oid(n.unsigned_abs()),
        DataType::ANY => Datum::Int4(n),
        DataType::ANYARRAY => Datum::Array(std::sync::Arc::new(Array::vector(DataType::INT4, vec![Datum::Int4(n)]))),
        _ => return None,
    })
}

fn close(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Float8(x), Datum::Float8(y)) => (x - y).abs() <= 1e-6 * (1.0 + x.abs().max(y.abs())) || (x.is_nan() && y.is_nan()),
        (Datum::Null, Datum::Null) => true,
        (a, b) => a.compare(b).is_eq(),
    }
}

proptest! {
    #[test]
    fn merged_partials_equal_one_pass(rows in prop::collection::vec((-1000i32..1000, -1000i32..1000), 0..40), cuts in prop::collection::vec(0usize..40, 0..3)) {
        for def in all_functions() {
            let FunctionBody::Aggregate { partial, .. } = def.body else { continue };
            if partial.is_empty() {
                continue;
            }
            let Some(rows) = rows.iter().map(|(a, b)| {
                def.args.iter().zip([*a, *b]).map(|(t, n)| value(*t, n)).collect::<Option<Vec<Datum>>>()
            }).collect::<Option<Vec<_>>>() else { continue };
            let mut whole = fresh(def, def.args);
            for r in &rows {
                whole.update(r).unwrap();
            }
            let mut merged = fresh(def, def.args);
            let mut bounds: Vec<usize> = cuts.iter().map(|c| (*c).min(rows.len())).chain([0, rows.len()]).collect();
            bounds.sort_unstable();
            for w in bounds.windows(2) {
                let mut part = fresh(def, def.args);
                for r in &rows[w[0]..w[1]] {
                    part.update(r).unwrap();
                }
                let state = part.partial().unwrap();
                prop_assert_eq!(state.len(), partial.len(), "{}", def.name);
                merged.merge(&state).unwrap();
            }
            let (a, b) = (whole.finish().unwrap(), merged.finish().unwrap());
            prop_assert!(close(&a, &b), "{}({:?}): {:?} and {:?}", def.name, def.args, a, b);
        }
    }
}

/// `select f(x) from (values …)`.
fn over(name: &str, types: &[DataType], rows: &[Vec<Datum>]) -> String {
    let call = resolve_function(name, types, false).unwrap();
    let mut acc = fresh(call.def, &call.arg_types);
    for r in rows {
        acc.update(r).unwrap();
    }
    let session = crate::functions::golden::session();
    let value = acc.finish().unwrap();
    let text = if value.is_null() { "NULL".to_owned() } else { crate::types::to_text(&value, call.returns, &session) };
    format!("{}: {text}", call.returns.name())
}

#[test]
fn answers_are_those_of_postgresql_15() {
    use DataType as T;
    let ints: Vec<Vec<Datum>> = [1, 2, 4].iter().map(|n| vec![Datum::Int4(*n)]).collect();
    let floats: Vec<Vec<Datum>> = [1.0, 2.0, 4.0].iter().map(|n| vec![Datum::Float8(*n)]).collect();
    let none: &[Vec<Datum>] = &[];
    assert_eq!(over("sum", &[T::INT4], &ints), "bigint: 7");
    assert_eq!(over("avg", &[T::INT4], &ints), "numeric: 2.3333333333333333");
    assert_eq!(over("variance", &[T::INT4], &ints), "numeric: 2.3333333333333333");
    assert_eq!(over("stddev", &[T::INT4], &ints), "numeric: 1.5275252316519467");
    assert_eq!(over("stddev_pop", &[T::INT4], &ints), "numeric: 1.2472191289246471");
    assert_eq!(over("avg", &[T::FLOAT8], &floats), "double precision: 2.3333333333333335");
    assert_eq!(over("array_agg", &[T::INT4], &ints), "integer[]: {1,2,4}");
    assert_eq!(over("json_agg", &[T::INT4], &ints), "json: [1, 2, 4]");
    assert_eq!(over("jsonb_agg", &[T::INT4], &ints), "jsonb: [1, 2, 4]");
    assert_eq!(over("sum", &[T::INT4], none), "bigint: NULL");
    assert_eq!(over("count", &[T::INT4], none), "bigint: 0");
    assert_eq!(over("array_agg", &[T::INT4], none), "integer[]: NULL");
    assert_eq!(over("sum", &[T::INT8], &[vec![Datum::Int8(i64::MAX)], vec![Datum::Int8(1)]]), "numeric: 9223372036854775808");
    let half = |f: f64| floats.iter().map(|r| vec![Datum::Float8(f), r[0].clone()]).collect::<Vec<_>>();
    assert_eq!(over("percentile_cont", &[T::FLOAT8, T::FLOAT8], &half(0.25)), "double precision: 1.5");
    assert_eq!(over("percentile_disc", &[T::FLOAT8, T::FLOAT8], &half(0.5)), "double precision: 2");
    let pairs: Vec<Vec<Datum>> = [("a", 1), ("b", 2)].iter().map(|(k, v)| vec![Datum::text(k), Datum::Int4(*v)]).collect();
    assert_eq!(over("json_object_agg", &[T::TEXT, T::INT4], &pairs), "json: { \"a\" : 1, \"b\" : 2 }");
    let words: Vec<Vec<Datum>> = ["a", "b"].iter().map(|w| vec![Datum::text(w), Datum::text(",")]).collect();
    assert_eq!(over("string_agg", &[T::TEXT, T::UNKNOWN], &words), "text: a,b");
}
