//! `sum`, `avg`, variance, covariance and regression over floats, by Youngs and Cramer's updates, which merge exactly as
//! PostgreSQL's parallel aggregation merges them.

use super::agg;
use crate::error::{Result, SqlState};
use crate::functions::Accumulator;
use crate::functions::args::{Entry, err, f4, f8};
use crate::types::{DataType, Datum};

fn overflow<T>() -> Result<T> {
    err(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// `sum(float4)`, `sum(float8)`, each in its own width.
enum FloatSum {
    Single(Option<f32>),
    Double(Option<f64>),
}

impl Accumulator for FloatSum {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if let Datum::Null = args[0] {
            return Ok(());
        }
        match self {
            FloatSum::Single(sum) => {
                let (old, v) = (sum.unwrap_or(0.0), f4(&args[0])?);
                let new = if sum.is_some() { old + v } else { v };
                if new.is_infinite() && old.is_finite() && v.is_finite() {
                    return overflow();
                }
                *sum = Some(new);
            }
            FloatSum::Double(sum) => {
                let (old, v) = (sum.unwrap_or(0.0), f8(&args[0])?);
                let new = if sum.is_some() { old + v } else { v };
                if new.is_infinite() && old.is_finite() && v.is_finite() {
                    return overflow();
                }
                *sum = Some(new);
            }
        }
        Ok(())
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        Ok(vec![self.finish()?])
    }
    fn merge(&mut self, partial: &[Datum]) -> Result<()> {
        self.update(partial)
    }
    fn finish(&self) -> Result<Datum> {
        Ok(match self {
            FloatSum::Single(v) => v.map_or(Datum::Null, Datum::Float4),
            FloatSum::Double(v) => v.map_or(Datum::Null, Datum::Float8),
        })
    }
    fn size(&self) -> usize {
        24
    }
}

/// Count, sum, and sum of squared deviations of one or two variables and of their product.
#[derive(Default, Clone, Copy)]
struct Moments {
    n: f64,
    sx: f64,
    sxx: f64,
    sy: f64,
    syy: f64,
    sxy: f64,
}

impl Moments {
    /// Adds a pair (`y` is 0 for one variable: its sums then stay 0).
    fn add(&mut self, y: f64, x: f64) -> Result<()> {
        let old = *self;
        self.n += 1.0;
        self.sx += x;
        self.sy += y;
        if old.n > 0.0 {
            let (tx, ty) = (x * self.n - self.sx, y * self.n - self.sy);
            let scale = 1.0 / (self.n * old.n);
            self.sxx += tx * tx * scale;
            self.syy += ty * ty * scale;
            self.sxy += tx * ty * scale;
            let spilled = |sum: f64, squares: f64| sum.is_infinite() || squares.is_infinite();
            if spilled(self.sx, self.sxx) || spilled(self.sy, self.syy) || self.sxy.is_infinite() {
                if [old.sx, old.sy, x, y].iter().all(|v| !v.is_infinite()) {
                    return overflow();
                }
                if self.sxx.is_infinite() || self.sx.is_infinite() {
                    self.sxx = f64::NAN;
                }
                if self.syy.is_infinite() || self.sy.is_infinite() {
                    self.syy = f64::NAN;
                }
                if self.sxy.is_infinite() {
                    self.sxy = f64::NAN;
                }
            }
        } else {
            if !x.is_finite() {
                self.sxx = f64::NAN;
                self.sxy = f64::NAN;
            }
            if !y.is_finite() {
                self.syy = f64::NAN;
                self.sxy = f64::NAN;
            }
        }
        Ok(())
    }
    fn merge(&mut self, o: &Moments) -> Result<()> {
        if o.n == 0.0 {
            return Ok(());
        }
        if self.n == 0.0 {
            *self = *o;
            return Ok(());
        }
        let n = self.n + o.n;
        let (tx, ty) = (self.sx / self.n - o.sx / o.n, self.sy / self.n - o.sy / o.n);
        let w = self.n * o.n / n;
        let merged = Moments {
            n,
            sx: self.sx + o.sx,
            sxx: self.sxx + o.sxx + w * tx * tx,
            sy: self.sy + o.sy,
            syy: self.syy + o.syy + w * ty * ty,
            sxy: self.sxy + o.sxy + w * tx * ty,
        };
        if merged.sxx.is_infinite() && !self.sxx.is_infinite() && !o.sxx.is_infinite() {
            return overflow();
        }
        *self = merged;
        Ok(())
    }
}

/// A statistic of the moments; None is NULL.
type Statistic = fn(&Moments) -> Option<f64>;

struct MomentsOf {
    moments: Moments,
    statistic: Statistic,
    /// `regr_count` is a `bigint`.
    integer: bool,
}

impl Accumulator for MomentsOf {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if args.iter().any(|a| matches!(a, Datum::Null)) {
            return Ok(());
        }
        match args {
            [x] => self.moments.add(0.0, f8(x)?),
            [y, x, ..] => self.moments.add(f8(y)?, f8(x)?),
            [] => Ok(()),
        }
    }
    fn partial(&self) -> Result<Vec<Datum>> {
        let m = &self.moments;
        Ok([m.n, m.sx, m.sxx, m.sy, m.syy, m.sxy].map(Datum::Float8).to_vec())
    }
    fn merge(&mut self, p: &[Datum]) -> Result<()> {
        let m = Moments { n: f8(&p[0])?, sx: f8(&p[1])?, sxx: f8(&p[2])?, sy: f8(&p[3])?, syy: f8(&p[4])?, sxy: f8(&p[5])? };
        self.moments.merge(&m)
    }
    fn finish(&self) -> Result<Datum> {
        Ok(match (self.statistic)(&self.moments) {
            Some(v) if self.integer => Datum::Int8(v as i64),
            Some(v) => Datum::Float8(v),
            None => Datum::Null,
        })
    }
    fn size(&self) -> usize {
        72
    }
}

fn of(statistic: Statistic) -> Box<dyn Accumulator> {
    Box::new(MomentsOf { moments: Moments::default(), statistic, integer: false })
}

const STATE: &[DataType] = &[DataType::FLOAT8; 6];

/// Guards a statistic by a least number of rows.
fn at_least(m: &Moments, n: f64, v: impl Fn(&Moments) -> f64) -> Option<f64> {
    (m.n >= n).then(|| v(m))
}

macro_rules! one {
    ($($name:literal |$m:ident| $v:expr;)*) => { &[$(
        agg(concat!($name, "(float4)"), |_| of(|$m| $v), STATE),
        agg(concat!($name, "(float8)"), |_| of(|$m| $v), STATE),
    )*] };
}

pub(super) const ONE: &[Entry] = one! {
    "avg" |m| at_least(m, 1.0, |m| m.sx / m.n);
    "var_pop" |m| at_least(m, 1.0, |m| m.sxx / m.n);
    "var_samp" |m| at_least(m, 2.0, |m| m.sxx / (m.n - 1.0));
    "variance" |m| at_least(m, 2.0, |m| m.sxx / (m.n - 1.0));
    "stddev_pop" |m| at_least(m, 1.0, |m| (m.sxx / m.n).sqrt());
    "stddev_samp" |m| at_least(m, 2.0, |m| (m.sxx / (m.n - 1.0)).sqrt());
    "stddev" |m| at_least(m, 2.0, |m| (m.sxx / (m.n - 1.0)).sqrt());
};

macro_rules! two {
    ($($name:literal |$m:ident| $v:expr;)*) => { &[$(agg(concat!($name, "(float8,float8)"), |_| of(|$m| $v), STATE),)*] };
}

pub(super) const TWO: &[Entry] = two! {
    "covar_pop" |m| at_least(m, 1.0, |m| m.sxy / m.n);
    "covar_samp" |m| at_least(m, 2.0, |m| m.sxy / (m.n - 1.0));
    "corr" |m| if m.n < 1.0 || m.sxx == 0.0 || m.syy == 0.0 { None } else { Some(m.sxy / (m.sxx * m.syy).sqrt()) };
    "regr_sxx" |m| at_least(m, 1.0, |m| m.sxx);
    "regr_syy" |m| at_least(m, 1.0, |m| m.syy);
    "regr_sxy" |m| at_least(m, 1.0, |m| m.sxy);
    "regr_avgx" |m| at_least(m, 1.0, |m| m.sx / m.n);
    "regr_avgy" |m| at_least(m, 1.0, |m| m.sy / m.n);
    "regr_r2" |m| if m.n < 1.0 || m.sxx == 0.0 { None } else if m.syy == 0.0 { Some(1.0) } else { Some((m.sxy * m.sxy) / (m.sxx * m.syy)) };
    "regr_slope" |m| if m.n < 1.0 || m.sxx == 0.0 { None } else { Some(m.sxy / m.sxx) };
    "regr_intercept" |m| if m.n < 1.0 || m.sxx == 0.0 { None } else { Some((m.sy - m.sx * m.sxy / m.sxx) / m.n) };
};

pub(super) const SUMS: &[Entry] = &[
    agg("sum(float4)", |_| Box::new(FloatSum::Single(None)), &[DataType::FLOAT4]),
    agg("sum(float8)", |_| Box::new(FloatSum::Double(None)), &[DataType::FLOAT8]),
    agg(
        "regr_count(float8,float8)",
        |_| Box::new(MomentsOf { moments: Moments::default(), statistic: |m| Some(m.n), integer: true }),
        STATE,
    ),
];
