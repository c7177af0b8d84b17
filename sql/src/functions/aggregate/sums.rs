//! `sum`, `avg` and the variance family over integers and `numeric`: exact, with PostgreSQL's result types and scales.

use num_bigint::BigInt;
use num_traits::Zero;

use super::agg;
use crate::error::Result;
use crate::functions::Accumulator;
use crate::functions::args::{Entry, i8, numeric, out_of_range};
use crate::functions::numeric::num;
use crate::types::{DataType, Datum, Numeric};

/// `sum(int2)`, `sum(int4)`: a `bigint`.
#[derive(Default)]
struct SmallSum(Option<i64>);

impl Accumulator for SmallSum {
    #[inline]
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        let sum = self.0.unwrap_or(0).checked_add(i8(&args[0])?).ok_or_else(|| out_of_range("bigint"))?;
        self.0 = Some(sum);
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.finish()?])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.update(partial)
    }
    fn finish(&self) -> Result<Datum> {
        Ok(self.0.map_or(Datum::Null, Datum::Int8))
    }
    fn size(&self) -> usize {
        24
    }
}

/// What is asked of a state of moments.
#[derive(Clone, Copy, PartialEq)]
enum Want {
    Sum,
    Avg,
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
}

impl Want {
    fn squares(self) -> bool {
        !matches!(self, Want::Sum | Want::Avg)
    }
}

/// Count, sum and sum of squares of integers in machine words; 2^64 rows of any `bigint` fit a sum, squares spill into `BigInt`.
struct IntegerMoments {
    count: i64,
    sum: i128,
    squares: BigInt,
    want: Want,
}

impl Accumulator for IntegerMoments {
    #[inline]
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        let v = i128::from(i8(&args[0])?);
        self.count += 1;
        self.sum += v;
        if self.want.squares() {
            self.squares += v * v;
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Int8(self.count), num(Numeric::from(self.sum)), num(Numeric::Finite(self.squares.clone(), 0))])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        let integer = |d: &Datum| match &**numeric(d)? {
            Numeric::Finite(c, _) => Ok(c.clone()),
            _ => Err(crate::error::SqlError::internal("integer partial is not finite")),
        };
        self.count += i8(&partial[0])?;
        self.sum += i128::try_from(integer(&partial[1])?).map_err(|_| out_of_range("sum"))?;
        self.squares += integer(&partial[2])?;
        Ok(())
    }
    fn finish(&self) -> Result<Datum> {
        result(self.want, self.count, &Numeric::from(self.sum), &Numeric::Finite(self.squares.clone(), 0))
    }
    fn size(&self) -> usize {
        80
    }
}

/// The same over `numeric`.
struct NumericMoments {
    count: i64,
    sum: Numeric,
    squares: Numeric,
    want: Want,
}

impl Accumulator for NumericMoments {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        let v = numeric(&args[0])?;
        self.count += 1;
        self.sum = self.sum.add(v)?;
        if self.want.squares() {
            self.squares = self.squares.add(&v.mul(v)?)?;
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![Datum::Int8(self.count), num(self.sum.clone()), num(self.squares.clone())])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.count += i8(&partial[0])?;
        self.sum = self.sum.add(numeric(&partial[1])?)?;
        self.squares = self.squares.add(numeric(&partial[2])?)?;
        Ok(())
    }
    fn finish(&self) -> Result<Datum> {
        result(self.want, self.count, &self.sum, &self.squares)
    }
    fn size(&self) -> usize {
        48 + self.sum.size() + self.squares.size()
    }
}

/// The square root rounded to a scale.
fn sqrt_at(n: &Numeric, scale: u32) -> Numeric {
    let Numeric::Finite(c, s) = n else { return n.clone() };
    let shift = 2 * i64::from(scale) - i64::from(*s);
    let ten = BigInt::from(10);
    // Rounded half up: floor(sqrt(4v)) is 2·sqrt(v) cut, so adding one and halving rounds.
    let scaled: BigInt = if shift >= 0 { c * 4 * ten.pow(shift as u32) } else { (c * 4) / ten.pow(-shift as u32) };
    Numeric::Finite((scaled.sqrt() + 1) / 2, scale)
}

fn result(want: Want, count: i64, sum: &Numeric, squares: &Numeric) -> Result<Datum> {
    if count == 0 || (count == 1 && matches!(want, Want::VarSamp | Want::StddevSamp)) {
        return Ok(Datum::Null);
    }
    let n = Numeric::from(count);
    match want {
        Want::Sum => return Ok(num(sum.clone())),
        Want::Avg => return sum.div(&n).map(num),
        _ => {}
    }
    if !sum.is_finite() {
        return Ok(num(Numeric::NaN));
    }
    let spread = n.mul(squares)?.sub(&sum.mul(sum)?)?;
    if spread.signum() <= 0 {
        return Ok(num(Numeric::zero()));
    }
    let sample = matches!(want, Want::VarSamp | Want::StddevSamp);
    let divisor = n.mul(&Numeric::from(if sample { count - 1 } else { count }))?;
    let scale = spread.div_scale(&divisor);
    let variance = spread.div_at(&divisor, scale)?;
    Ok(num(if matches!(want, Want::VarPop | Want::VarSamp) { variance } else { sqrt_at(&variance, scale) }))
}

fn integers(want: Want) -> Box<dyn Accumulator> {
    Box::new(IntegerMoments { count: 0, sum: 0, squares: BigInt::zero(), want })
}
fn numerics(want: Want) -> Box<dyn Accumulator> {
    Box::new(NumericMoments { count: 0, sum: Numeric::zero(), squares: Numeric::zero(), want })
}
fn small_sum(_: &[DataType]) -> Box<dyn Accumulator> {
    Box::<SmallSum>::default()
}

const MOMENTS: &[DataType] = &[DataType::INT8, DataType::NUMERIC, DataType::NUMERIC];

macro_rules! family {
    ($($name:literal $want:ident;)*) => { &[$(
        agg(concat!($name, "(int2)"), |_| integers(Want::$want), MOMENTS),
        agg(concat!($name, "(int4)"), |_| integers(Want::$want), MOMENTS),
        agg(concat!($name, "(int8)"), |_| integers(Want::$want), MOMENTS),
        agg(concat!($name, "(numeric)"), |_| numerics(Want::$want), MOMENTS),
    )*] };
}

pub(super) const FAMILY: &[Entry] = family! {
    "avg" Avg; "var_pop" VarPop; "var_samp" VarSamp; "variance" VarSamp; "stddev_pop" StddevPop; "stddev_samp" StddevSamp; "stddev" StddevSamp;
};

pub(super) const SUMS: &[Entry] = &[
    agg("sum(int2)", small_sum, &[DataType::INT8]),
    agg("sum(int4)", small_sum, &[DataType::INT8]),
    agg("sum(int8)", |_| integers(Want::Sum), MOMENTS),
    agg("sum(numeric)", |_| numerics(Want::Sum), MOMENTS),
];
