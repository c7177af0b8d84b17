//! `json_agg`, `json_object_agg` and their `jsonb` twins. NULLs are elements here. Session settings are out of reach of an
//! accumulator: see [`crate::functions::json_aggregate_wrapper`].

use std::sync::{Arc, LazyLock};

use super::agg;
use crate::error::{Result, SqlError};
use crate::functions::args::Entry;
use crate::functions::json::{js, key, to_jsonb, write_json};
use crate::functions::{Accumulator, SessionView};
use crate::types::json::write_string;
use crate::types::{DataType, Datum, Io, Jsonb};

static ISO_UTC: LazyLock<SessionView> = LazyLock::new(|| SessionView {
    user: String::new(),
    session_user: String::new(),
    database: String::new(),
    search_path: vec![],
    timezone: "UTC".into(),
    datestyle: "ISO, MDY".into(),
    intervalstyle: "postgres".into(),
    extra_float_digits: 1,
    bytea_escape: false,
    backend_pid: 0,
    settings: std::collections::BTreeMap::new(),
});

fn io() -> Io<'static> {
    Io::from(&*ISO_UTC)
}

/// `json` text under construction.
struct Text {
    types: Vec<DataType>,
    object: bool,
    out: Option<String>,
}

impl Text {
    fn type_at(&self, i: usize) -> DataType {
        self.types.get(i).copied().unwrap_or(DataType::TEXT)
    }
}

impl Accumulator for Text {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let first = self.out.is_none();
        let mut out = self.out.take().unwrap_or_else(|| String::from(if self.object { "{ " } else { "[" }));
        if !first {
            out.push_str(", ");
        }
        if self.object {
            write_string(&mut out, &key(io(), self.type_at(0), &args[0], None)?);
            out.push_str(" : ");
            write_json(io(), self.type_at(1), &args[1], &mut out);
        } else {
            // Structured items stand on lines of their own.
            if !first && matches!(args[0], Datum::Array(_) | Datum::Record(_)) {
                out.push_str("\n ");
            }
            write_json(io(), self.type_at(0), &args[0], &mut out);
        }
        crate::functions::text_basic::check_length(out.len())?;
        self.out = Some(out);
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Err(SqlError::internal("this aggregate has no partial form"))
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        Err(SqlError::internal("this aggregate has no partial form"))
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.out.as_ref().map_or(Datum::Null, |o| js(format!("{o}{}", if self.object { " }" } else { "]" }))))
    }
    fn size(&self) -> usize {
        64 + self.out.as_ref().map_or(0, String::capacity)
    }
}

/// `jsonb` values under construction.
struct Values {
    types: Vec<DataType>,
    object: bool,
    seen: bool,
    items: Vec<Jsonb>,
    pairs: Vec<(Arc<str>, Jsonb)>,
    bytes: usize,
}

impl Accumulator for Values {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.seen = true;
        let ty = |i: usize| self.types.get(i).copied().unwrap_or(DataType::TEXT);
        if self.object {
            let name: Arc<str> = Arc::from(key(io(), ty(0), &args[0], None)?);
            let value = to_jsonb(io(), ty(1), &args[1])?;
            self.bytes += name.len() + 32 + value.size();
            self.pairs.push((name, value));
        } else {
            let value = to_jsonb(io(), ty(0), &args[0])?;
            self.bytes += value.size();
            self.items.push(value);
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Err(SqlError::internal("this aggregate has no partial form"))
    }
    fn merge(&mut self, _: &[Datum]) -> Result<()> {
        Err(SqlError::internal("this aggregate has no partial form"))
    }
    fn finish(&self) -> Result<Datum> {
        Ok(match (self.seen, self.object) {
            (false, _) => Datum::Null,
            (true, true) => Datum::Jsonb(Arc::new(Jsonb::object(self.pairs.clone()))),
            (true, false) => Datum::Jsonb(Arc::new(Jsonb::Array(self.items.clone()))),
        })
    }
    fn size(&self) -> usize {
        128 + self.bytes
    }
}

fn text(types: &[DataType], object: bool) -> Box<dyn Accumulator> {
    Box::new(Text { types: types.to_vec(), object, out: None })
}
fn values(types: &[DataType], object: bool) -> Box<dyn Accumulator> {
    Box::new(Values { types: types.to_vec(), object, seen: false, items: vec![], pairs: vec![], bytes: 0 })
}

pub(super) const ENTRIES: &[Entry] = &[
    agg("json_agg(anyelement)", |t| text(t, false), &[]),
    agg("json_object_agg(any,any)", |t| text(t, true), &[]),
    agg("jsonb_agg(anyelement)", |t| values(t, false), &[]),
    agg("jsonb_object_agg(any,any)", |t| values(t, true), &[]),
];
