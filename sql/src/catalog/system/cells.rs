//! Rows of system tables, written as plain values: [`row!`] turns each into a datum.

use std::sync::Arc;

use crate::types::{Array, DataType, Datum};

/// A row.
pub type Row = Vec<Datum>;

/// What can stand in a cell.
pub trait Cell {
    /// As a value.
    fn datum(self) -> Datum;
}

macro_rules! cells {
    ($($ty:ty => |$v:ident| $datum:expr;)*) => {
        $(impl Cell for $ty {
            fn datum(self) -> Datum {
                let $v = self;
                $datum
            }
        })*
    };
}

cells! {
    () => |_v| Datum::Null;
    &str => |v| Datum::text(v);
    &String => |v| Datum::text(v);
    String => |v| Datum::Text(Arc::from(v));
    bool => |v| Datum::Bool(v);
    i16 => |v| Datum::Int2(v);
    i32 => |v| Datum::Int4(v);
    i64 => |v| Datum::Int8(v);
    f32 => |v| Datum::Float4(v);
    u32 => |v| Datum::Oid(v);
    DataType => |v| Datum::Oid(v.0);
    char => |v| Datum::Char(u8::try_from(v).unwrap_or(0));
    Datum => |v| v;
}

impl<T: Cell> Cell for Option<T> {
    fn datum(self) -> Datum {
        self.map_or(Datum::Null, Cell::datum)
    }
}

/// A row from values of any of the types in [`Cell`]; `()` is NULL.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::catalog::system::cells::Cell::datum($cell)),*] };
}
pub(super) use row;

/// SQL's `YES`/`NO`, as `information_schema` spells booleans.
pub fn yes_no(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

fn one_dimension(element: DataType, lower: i32, elements: Vec<Datum>) -> Datum {
    let dims = if elements.is_empty() { vec![] } else { vec![(elements.len() as i32, lower)] };
    Datum::Array(Arc::new(Array { element, dims, elements }))
}

/// An array with lower bound 1.
pub fn array<T: Cell>(element: DataType, items: impl IntoIterator<Item = T>) -> Datum {
    one_dimension(element, 1, items.into_iter().map(Cell::datum).collect())
}

/// An `int2vector` or `oidvector`.
pub fn vector<T: Cell>(element: DataType, items: impl IntoIterator<Item = T>) -> Datum {
    one_dimension(element, 0, items.into_iter().map(Cell::datum).collect())
}

/// Column ids as `int2[]`.
pub fn column_numbers(ids: &[u32]) -> Datum {
    array(DataType::INT2, ids.iter().map(|id| *id as i16))
}
