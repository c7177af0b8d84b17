//! `sum(interval)` and `avg(interval)`.

use super::agg;
use crate::error::Result;
use crate::functions::Accumulator;
use crate::functions::args::{Entry, i8, interval};
use crate::types::datetime::{interval_add, interval_div};
use crate::types::{DataType, Datum, Interval};

struct Intervals {
    count: i64,
    sum: Interval,
    average: bool,
}

impl Accumulator for Intervals {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        self.count += 1;
        self.sum = interval_add(&self.sum, interval(&args[0])?)?;
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Int8(self.count), Datum::Interval(self.sum)])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.count += i8(&partial[0])?;
        self.sum = interval_add(&self.sum, interval(&partial[1])?)?;
        Ok(())
    }
    fn finish(&self) -> Result<Datum> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        Ok(Datum::Interval(if self.average { interval_div(&self.sum, self.count as f64)? } else { self.sum }))
    }
    fn size(&self) -> usize {
        40
    }
}

fn of(average: bool) -> Box<dyn Accumulator> {
    Box::new(Intervals { count: 0, sum: Interval::default(), average })
}

const STATE: &[DataType] = &[DataType::INT8, DataType::INTERVAL];

pub(super) const ENTRIES: &[Entry] = &[agg("sum(interval)", |_| of(false), STATE), agg("avg(interval)", |_| of(true), STATE)];
