//! `postgres15.tsv` holds what PostgreSQL 15 answered to some 1,400 conversions and calculations; every line must come out the
//! same here. `generate.py` wrote it and says what each kind of line means.

use std::fmt::Write;
use std::sync::Arc;

use super::casts::cast_with;
use super::datetime::{self, Source};
use super::{CastContext, DataType, Datum, Interval, Io, Jsonb, NO_TYPMOD, Numeric, find_cast, json, parse_text, to_text};
use crate::error::{Result, SqlError};
use crate::functions::SessionView;

/// Lines where we differ on purpose, with the reason.
const DIFFERENCES: &[(&str, &str, &str)] = &[];

fn session(settings: &str) -> SessionView {
    let mut s = SessionView {
        user: "root".into(),
        session_user: "root".into(),
        database: "defaultdb".into(),
        search_path: vec![],
        timezone: "UTC".into(),
        datestyle: "ISO, MDY".into(),
        intervalstyle: "postgres".into(),
        extra_float_digits: 1,
        bytea_escape: false,
        backend_pid: 1,
        settings: Default::default(),
    };
    for (name, value) in settings.split(';').filter_map(|p| p.split_once('=')) {
        match name {
            "DateStyle" => s.datestyle = value.into(),
            "TimeZone" => s.timezone = value.into(),
            "IntervalStyle" => s.intervalstyle = value.into(),
            "extra_float_digits" => s.extra_float_digits = value.parse().unwrap(),
            "bytea_output" => s.bytea_escape = value == "escape",
            _ => {}
        }
    }
    s
}

/// `varchar(3)`, `interval day to minute` → type and modifier.
fn type_of(name: &str) -> (DataType, i32) {
    let (base, args) = match name.split_once('(') {
        Some((base, rest)) => (base, rest.trim_end_matches(')').split(',').map(|n| n.trim().parse().unwrap()).collect::<Vec<i32>>()),
        None => (name, vec![]),
    };
    if let Some(fields) = base.strip_prefix("interval") {
        let fields = fields.trim();
        let typmod = super::interval::make_typmod((!fields.is_empty()).then_some(fields), args.first().copied()).unwrap();
        return (DataType::INTERVAL, typmod);
    }
    let ty = DataType::from_name(base).unwrap();
    let typmod = match (ty, &args[..]) {
        (_, []) if base == "char" => 5,
        (_, []) => NO_TYPMOD,
        (DataType::NUMERIC, [p, s]) => super::data_type::make_numeric_typmod(*p, *s),
        (DataType::VARCHAR | DataType::BPCHAR, [n]) => n + 4,
        (_, [n, ..]) => *n,
    };
    (ty, typmod)
}

struct Case<'a> {
    kind: &'a str,
    settings: &'a str,
    args: Vec<String>,
    session: SessionView,
}

impl Case<'_> {
    fn io(&self) -> Io<'_> {
        Io::from(&self.session)
    }
    fn num(&self, i: usize) -> Result<Numeric> {
        Numeric::parse(&self.args[i])
    }
    fn ts(&self, i: usize) -> Result<i64> {
        datetime::parse_timestamp(&self.args[i], &self.io())
    }
    fn tstz(&self, i: usize) -> Result<i64> {
        datetime::parse_timestamptz(&self.args[i], &self.io())
    }
    fn interval(&self, i: usize) -> Result<Interval> {
        super::interval::parse_interval(&self.args[i], NO_TYPMOD, &self.session)
    }
    fn int(&self, i: usize) -> i32 {
        self.args[i].parse().unwrap()
    }
    fn f64(&self, i: usize) -> f64 {
        self.args[i].parse().unwrap()
    }
    fn jsonb(&self, i: usize) -> Result<Jsonb> {
        json::parse(&self.args[i])
    }
    fn show(&self, d: Datum) -> String {
        let text = to_text(&d, d.natural_type(), self.io());
        match d {
            Datum::Null => "NULL".into(),
            Datum::Bool(b) => b.to_string(),
            _ => text,
        }
    }
    fn cast(&self, ty: DataType, typmod: i32) -> Result<Datum> {
        // An untyped literal is read by the type's input function, then coerced explicitly to the modifier; `interval` reads its own.
        let typed = if ty == DataType::INTERVAL { typmod } else { NO_TYPMOD };
        let value = parse_text(ty, typed, &self.args[0], self.io())?;
        let value = super::apply_typmod(ty, typmod, value, true)?;
        let cast = find_cast(ty, DataType::TEXT, CastContext::Explicit).unwrap();
        cast_with(&cast, value, NO_TYPMOD, true, &self.io())
    }

    fn numeric(n: Result<Numeric>) -> Result<Datum> {
        n.map(|n| Datum::Numeric(Arc::new(n)))
    }

    fn run(&self) -> Result<Datum> {
        let field = self.settings.strip_prefix("field=").unwrap_or("");
        match self.kind {
            "numeric+" => Self::numeric(self.num(0)?.add(&self.num(1)?)),
            "numeric-" => Self::numeric(self.num(0)?.sub(&self.num(1)?)),
            "numeric*" => Self::numeric(self.num(0)?.mul(&self.num(1)?)),
            "numeric/" => Self::numeric(self.num(0)?.div(&self.num(1)?)),
            "numeric%" => Self::numeric(self.num(0)?.rem(&self.num(1)?)),
            "numeric^" => Self::numeric(self.num(0)?.power(&self.num(1)?)),
            "sqrt" => Self::numeric(self.num(0)?.sqrt()),
            "ln" => Self::numeric(self.num(0)?.ln()),
            "exp" => Self::numeric(self.num(0)?.exp()),
            "log" => Self::numeric(self.num(0)?.log10()),
            "log2" => Self::numeric(Numeric::log(&self.num(0)?, &self.num(1)?)),
            "round" => Self::numeric(Ok(self.num(0)?.round(i64::from(self.int(1))))),
            "trunc" => Self::numeric(Ok(self.num(0)?.trunc(i64::from(self.int(1))))),
            "tsadd" => datetime::timestamp_add(self.ts(0)?, &self.interval(1)?).map(Datum::Timestamp),
            "tstzadd" => datetime::timestamptz_add(self.tstz(0)?, &self.interval(1)?, &self.session.timezone).map(Datum::TimestampTz),
            "tssub" => datetime::timestamp_diff(self.ts(0)?, self.ts(1)?).map(Datum::Interval),
            "age" => datetime::age(self.ts(0)?, self.ts(1)?).map(Datum::Interval),
            "extract" => {
                let n = datetime::extract(field, Source::Timestamp(self.ts(0)?))?;
                Ok(n.map_or(Datum::Null, |n| Datum::Numeric(Arc::new(n))))
            }
            "extracti" => Self::numeric(datetime::extract_interval(field, &self.interval(0)?)),
            "trunc_ts" => datetime::date_trunc(&self.args[0], self.ts(1)?).map(Datum::Timestamp),
            "trunc_i" => datetime::date_trunc_interval(&self.args[0], &self.interval(1)?).map(Datum::Interval),
            "justify_hours" => datetime::justify_hours(&self.interval(0)?).map(Datum::Interval),
            "justify_days" => datetime::justify_days(&self.interval(0)?).map(Datum::Interval),
            "justify_interval" => datetime::justify_interval(&self.interval(0)?).map(Datum::Interval),
            "imul" => datetime::interval_mul(&self.interval(0)?, self.f64(1)).map(Datum::Interval),
            "idiv" => datetime::interval_div(&self.interval(0)?, self.f64(1)).map(Datum::Interval),
            "make_date" => datetime::make_date(self.int(0), self.int(1), self.int(2)).map(Datum::Date),
            "atzone" => datetime::timestamptz_to_timestamp(self.tstz(0)?, &self.args[1]).map(Datum::Timestamp),
            "jcmp" => Ok(Datum::Bool(self.jsonb(0)? > self.jsonb(1)?)),
            "contains" => Ok(Datum::Bool(self.jsonb(0)?.contains(&self.jsonb(1)?))),
            ty => {
                let (ty, typmod) = type_of(ty);
                self.cast(ty, typmod)
            }
        }
    }

    fn answer(&self) -> String {
        match self.run() {
            Ok(d) => self.show(d).replace('\n', "\\n"),
            Err(SqlError { code, message, .. }) => format!("!{} {}", code.0, message.replace('\n', "\\n")),
        }
    }
}

#[test]
fn postgres_says_the_same() {
    let mut report = String::new();
    let mut wrong = 0;
    for line in include_str!("postgres15.tsv").lines() {
        let [kind, settings, args, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("malformed line: {line}") };
        let args = args.split('¦').map(|a| a.replace("\\n", "\n")).collect();
        let case = Case { kind, settings, args, session: session(settings) };
        let got = case.answer();
        let known = DIFFERENCES.iter().any(|(k, a, ours)| *k == kind && *a == case.args.join("¦") && *ours == got);
        if got != expected && !known {
            wrong += 1;
            let _ = writeln!(report, "{kind} [{settings}] {:?}\n    PostgreSQL: {expected}\n    Meridian:   {got}", case.args);
        }
    }
    assert!(wrong == 0, "{wrong} lines differ\n{report}");
}
