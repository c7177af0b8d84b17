//! Roots, powers, exponentials and logarithms of `numeric`.
//!
//! The result's scale is chosen as PostgreSQL chooses it; the value is computed in binary fixed point with guard bits enough
//! that rounding to that scale is right but for astronomically unlucky cases.

use num_bigint::{BigInt, BigUint};
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::arith::division_by_zero;
use super::{MAX_DISPLAY_SCALE, MIN_SIG_DIGITS, Numeric, div_round, overflow, pow10};
use crate::error::{Result, SqlError, SqlState};

const LOG10_E: f64 = std::f64::consts::LOG10_E;
/// Beyond this many digits a result is certainly out of range (PostgreSQL's `NUMERIC_MAX_RESULT_SCALE`).
const MAX_RESULT_SCALE: f64 = 2000.0;

/// A real number `mantissa × 2^-bits`, the working form of the series below.
struct Fixed {
    mantissa: BigInt,
    bits: u64,
}

fn bits_for(digits: i64) -> u64 {
    (digits.max(1) as f64 * std::f64::consts::LOG2_10) as u64 + 64
}

impl Fixed {
    fn from_numeric(n: &Numeric, bits: u64) -> Fixed {
        let mantissa = match n {
            Numeric::Finite(c, s) => (c << bits) / pow10(*s),
            _ => BigInt::zero(),
        };
        Fixed { mantissa, bits }
    }
    fn to_numeric(&self, scale: i64) -> Result<Numeric> {
        let scale = scale.clamp(0, i64::from(super::MAX_SCALE)) as u32;
        Numeric::new(div_round(&(&self.mantissa * pow10(scale)), &(BigInt::one() << self.bits)), scale)
    }
}

/// `ln(c × 10^-s)` for a positive value, in fixed point of `bits`.
fn ln_fixed(c: &BigInt, s: u32, bits: u64) -> BigInt {
    // x = m × 2^k with m in [0.7, 1.5); ln x = ln m + k ln 2; ln m = 2 atanh((m-1)/(m+1)).
    let unit = pow10(s);
    let k = c.bits() as i64 - unit.bits() as i64;
    let (num, den) = if k >= 0 { (c.clone(), unit << k as u64) } else { (c << (-k) as u64, unit) };
    // m = num/den in (0.5, 2); fold into (0.7, 1.5).
    let (den, k) = if &num * 4u32 > &den * 6u32 { (den << 1u32, k + 1) } else { (den, k) };
    let z = ((&num - &den) << bits) / (&num + &den);
    let ln_m = atanh_series(&z, bits) * 2;
    // ln 2 = 2 atanh(1/3)
    let ln_2 = if k == 0 { BigInt::zero() } else { atanh_series(&((BigInt::one() << bits) / 3), bits) * 2 };
    ln_m + ln_2 * k
}

fn atanh_series(z: &BigInt, bits: u64) -> BigInt {
    let z2 = (z * z) >> bits;
    let mut power = z.clone();
    let mut sum = z.clone();
    let mut n = 3u32;
    while !power.is_zero() {
        power = (&power * &z2) >> bits;
        // An arithmetic shift of a negative number never reaches zero, only -1.
        if power == -BigInt::one() {
            break;
        }
        sum += &power / n;
        n += 2;
    }
    sum
}

/// `e^x` for fixed-point `x`; the result has `bits` too.
fn exp_fixed(x: &BigInt, bits: u64) -> BigInt {
    // Halve x until it is below 2^-8, sum the series, square back. Each squaring costs a bit: guard bits cover them.
    let magnitude_bits = x.bits().saturating_sub(bits);
    let halvings = magnitude_bits + 8;
    let guard = halvings + 16;
    let work = bits + guard + (magnitude_bits_result(x, bits));
    let mut reduced: BigInt = (x << (work - bits)) >> halvings;
    let negative = reduced.is_negative();
    if negative {
        reduced = -reduced;
    }
    let mut term = BigInt::one() << work;
    let mut sum = term.clone();
    let mut n = 1u32;
    loop {
        term = ((&term * &reduced) >> work) / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> work;
    }
    if negative {
        sum = (BigInt::one() << (2 * work)) / sum;
    }
    sum >> (work - bits)
}

/// Bits of the integer part of `e^|x|`: extra precision the squarings need.
fn magnitude_bits_result(x: &BigInt, bits: u64) -> u64 {
    let whole = (x.magnitude() >> bits).to_u64().unwrap_or(0) + 1;
    (whole as f64 * std::f64::consts::LOG2_E) as u64 + 2
}

impl Numeric {
    fn own_scale(&self) -> i64 {
        i64::from(self.scale().unwrap_or(0))
    }

    /// `sqrt(a)`; `2201F` below zero.
    pub fn sqrt(&self) -> Result<Numeric> {
        let bad = || SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "cannot take square root of a negative number");
        let (c, s) = match self {
            Numeric::NaN => return Ok(Numeric::NaN),
            Numeric::Infinity => return Ok(Numeric::Infinity),
            Numeric::NegInfinity => return Err(bad()),
            Numeric::Finite(c, s) => (c, *s),
        };
        if c.is_negative() {
            return Err(bad());
        }
        let (weight, _, _) = self.nbase_head(1);
        let result_weight = (weight + 1) * 4 / 2 - 1;
        let scale = (MIN_SIG_DIGITS - result_weight).max(i64::from(s)).clamp(0, MAX_DISPLAY_SCALE) as u32;
        // sqrt(c / 10^s) × 10^scale = sqrt(c × 10^(2 scale - s))
        let shift = 2 * i64::from(scale) - i64::from(s);
        let radicand: BigUint =
            if shift >= 0 { c.magnitude() * pow10(shift as u32).magnitude() } else { c.magnitude() / pow10(-shift as u32).magnitude() };
        let root = radicand.sqrt();
        let root = if &radicand - &root * &root > root { root + 1u32 } else { root };
        Numeric::new(BigInt::from(root), scale)
    }

    /// `exp(a)`; `22003` when out of range.
    pub fn exp(&self) -> Result<Numeric> {
        match self {
            Numeric::NaN => return Ok(Numeric::NaN),
            Numeric::Infinity => return Ok(Numeric::Infinity),
            Numeric::NegInfinity => return Ok(Numeric::zero()),
            Numeric::Finite(..) => {}
        }
        let x = self.to_f64();
        let weight = (x * LOG10_E).clamp(-MAX_RESULT_SCALE, MAX_RESULT_SCALE);
        let scale = (MIN_SIG_DIGITS - weight as i64).max(self.own_scale()).clamp(0, MAX_DISPLAY_SCALE);
        self.exp_at(scale)
    }

    fn exp_at(&self, scale: i64) -> Result<Numeric> {
        let x = self.to_f64();
        if x.abs() >= MAX_RESULT_SCALE * 3.0 {
            return if x > 0.0 { Err(overflow()) } else { Ok(Numeric::Finite(BigInt::zero(), scale as u32)) };
        }
        let bits = bits_for(scale + 8 + (x * LOG10_E).max(0.0) as i64);
        let fixed = Fixed::from_numeric(self, bits);
        Fixed { mantissa: exp_fixed(&fixed.mantissa, bits), bits }.to_numeric(scale)
    }

    fn check_log_argument(&self) -> Result<()> {
        match self.signum() {
            0 if self.is_finite() => Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of zero")),
            -1 => Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of a negative number")),
            _ => Ok(()),
        }
    }

    /// PostgreSQL's `estimate_ln_dweight`: the decimal weight of `ln(a)`, roughly.
    fn ln_weight(&self) -> i64 {
        if self.signum() <= 0 {
            return 0;
        }
        let near = |c: i64| Numeric::Finite(BigInt::from(c), 1);
        if *self >= near(9) && *self <= near(11) {
            return self.sub(&Numeric::from(1i64)).ok().and_then(|x| x.leading_position()).unwrap_or(0);
        }
        let (_, head, position) = self.nbase_head(2);
        let ln = (head as f64).ln() + position as f64 * std::f64::consts::LN_10;
        ln.abs().log10() as i64
    }

    fn ln_at(&self, scale: i64) -> Result<Numeric> {
        let Numeric::Finite(c, s) = self else { return Ok(self.clone()) };
        let bits = bits_for(scale + 16);
        Fixed { mantissa: ln_fixed(c, *s, bits), bits }.to_numeric(scale)
    }

    /// `ln(a)`; `2201E` at or below zero.
    pub fn ln(&self) -> Result<Numeric> {
        if self.is_nan() {
            return Ok(Numeric::NaN);
        }
        self.check_log_argument()?;
        if self.is_infinite() {
            return Ok(Numeric::Infinity);
        }
        let scale = (MIN_SIG_DIGITS - self.ln_weight()).max(self.own_scale()).clamp(0, MAX_DISPLAY_SCALE);
        self.ln_at(scale)
    }

    /// `log(base, a)`
    pub fn log(base: &Numeric, a: &Numeric) -> Result<Numeric> {
        if base.is_nan() || a.is_nan() {
            return Ok(Numeric::NaN);
        }
        base.check_log_argument()?;
        a.check_log_argument()?;
        match (base.is_infinite(), a.is_infinite()) {
            (true, true) => return Ok(Numeric::NaN),
            (true, false) => return Ok(Numeric::zero()),
            (false, true) => return Ok(Numeric::Infinity),
            (false, false) => {}
        }
        let (base_weight, weight) = (base.ln_weight(), a.ln_weight());
        let scale = (MIN_SIG_DIGITS - (weight - base_weight)).max(base.own_scale()).max(a.own_scale()).clamp(0, MAX_DISPLAY_SCALE);
        let (Numeric::Finite(cb, sb), Numeric::Finite(c, s)) = (base, a) else { return Ok(Numeric::NaN) };
        let bits = bits_for(scale + 24 + weight.abs() + base_weight.abs());
        let ln_base = ln_fixed(cb, *sb, bits);
        if ln_base.is_zero() {
            return Err(division_by_zero());
        }
        let quotient = (ln_fixed(c, *s, bits) << bits) / ln_base;
        Fixed { mantissa: quotient, bits }.to_numeric(scale)
    }

    /// `log10(a)`
    pub fn log10(&self) -> Result<Numeric> {
        Numeric::log(&Numeric::from(10i64), self)
    }

    /// `a ^ b`
    pub fn power(&self, exponent: &Numeric) -> Result<Numeric> {
        if let Some(special) = self.power_special(exponent)? {
            return Ok(special);
        }
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "zero raised to a negative power is undefined"));
        }
        let integer = exponent.is_integer();
        if self.signum() < 0 && !integer {
            return Err(SqlError::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        if integer && let Some(n) = exponent.to_i64_exact().and_then(|n| i32::try_from(n).ok()) {
            return self.power_int(n);
        }
        if self.is_zero() {
            return Ok(Numeric::Finite(BigInt::zero(), MIN_SIG_DIGITS as u32));
        }
        let odd = integer && exponent.rem(&Numeric::from(2i64))?.signum() != 0;
        let result = self.abs().power_real(exponent)?;
        Ok(if self.signum() < 0 && odd { result.neg() } else { result })
    }

    /// NaN and infinities, by POSIX `pow`.
    fn power_special(&self, exponent: &Numeric) -> Result<Option<Numeric>> {
        if self.is_finite() && exponent.is_finite() {
            return Ok(None);
        }
        let one = Numeric::from(1i64);
        if *self == one || exponent.is_zero() {
            return Ok(Some(one));
        }
        if self.is_nan() || exponent.is_nan() {
            return Ok(Some(Numeric::NaN));
        }
        if self.signum() < 0 && exponent.is_finite() && !exponent.is_integer() {
            return Err(SqlError::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        if self.is_zero() && exponent.signum() < 0 {
            return Err(SqlError::new(SqlState::INVALID_ARGUMENT_FOR_POWER, "zero raised to a negative power is undefined"));
        }
        if exponent.is_infinite() {
            let magnitude = self.abs();
            return Ok(Some(if magnitude == one {
                one
            } else if (magnitude > one) == (exponent.signum() > 0) {
                Numeric::Infinity
            } else {
                Numeric::zero()
            }));
        }
        if exponent.signum() < 0 {
            return Ok(Some(Numeric::zero()));
        }
        let odd = exponent.is_integer() && exponent.rem(&Numeric::from(2i64))?.signum() != 0;
        Ok(Some(if self.signum() < 0 && odd { Numeric::NegInfinity } else { Numeric::Infinity }))
    }

    fn power_int(&self, n: i32) -> Result<Numeric> {
        let scale = MIN_SIG_DIGITS.max(self.own_scale()).min(MAX_DISPLAY_SCALE) as u32;
        match n {
            0 => return Ok(Numeric::from(1i64).round(i64::from(scale))),
            1 => return Ok(self.round(i64::from(scale))),
            -1 => return Numeric::from(1i64).div_at(self, scale),
            _ => {}
        }
        let Numeric::Finite(c, s) = self else { return Ok(self.clone()) };
        if c.is_zero() {
            return if n < 0 { Err(division_by_zero()) } else { Ok(Numeric::Finite(BigInt::zero(), scale)) };
        }
        let (_, head, position) = self.nbase_head(4);
        let weight = f64::from(n) * ((head as f64).log10() + position as f64);
        if weight > 3.0 * 32767.0 * 4.0 {
            return Err(overflow());
        }
        if weight + 1.0 < -(MAX_DISPLAY_SCALE as f64) {
            return Ok(Numeric::Finite(BigInt::zero(), scale));
        }
        // Exact powers stay cheap while small; else repeated multiplication with the digits that can still matter.
        let keep = (f64::from(scale as i32) + weight.max(0.0)) as i64 + 24;
        let (mut result, mut result_scale) = (BigInt::one(), 0i64);
        let (mut base, mut base_scale) = super::canonical(c, *s);
        let mut e = n.unsigned_abs();
        loop {
            if e & 1 == 1 {
                result *= &base;
                result_scale += base_scale;
                limit_digits(&mut result, &mut result_scale, keep);
            }
            e >>= 1;
            if e == 0 {
                break;
            }
            base = &base * &base;
            base_scale *= 2;
            limit_digits(&mut base, &mut base_scale, keep);
        }
        let shift = i64::from(scale) - result_scale;
        if n > 0 {
            let c = if shift >= 0 { result * pow10(shift as u32) } else { div_round(&result, &pow10(-shift as u32)) };
            return Numeric::new(c, scale);
        }
        // 1 / (result × 10^-result_scale), at `scale`
        let up = i64::from(scale) + result_scale;
        let c = if up >= 0 { div_round(&pow10(up as u32), &result) } else { BigInt::zero() };
        Numeric::new(c, scale)
    }

    fn power_real(&self, exponent: &Numeric) -> Result<Numeric> {
        let ln_weight = self.ln_weight();
        let rough = self.ln_at((8 - ln_weight).clamp(0, MAX_DISPLAY_SCALE))?.mul(exponent)?.to_f64();
        if rough.abs() > MAX_RESULT_SCALE * 3.01 {
            return if rough > 0.0 { Err(overflow()) } else { Ok(Numeric::Finite(BigInt::zero(), MAX_DISPLAY_SCALE as u32)) };
        }
        let weight = (rough * LOG10_E) as i64;
        let scale = (MIN_SIG_DIGITS - weight).max(self.own_scale()).max(exponent.own_scale()).clamp(0, MAX_DISPLAY_SCALE);
        let Numeric::Finite(c, s) = self else { return Ok(self.clone()) };
        let digits = (scale + weight.max(0)).max(0) + 24 + exponent.leading_position().unwrap_or(0).max(0);
        let bits = bits_for(digits);
        let ln = ln_fixed(c, *s, bits);
        let Numeric::Finite(ce, se) = exponent else { return Ok(exponent.clone()) };
        let product = (ln * ce).div_floor(&pow10(*se));
        Fixed { mantissa: exp_fixed(&product, bits), bits }.to_numeric(scale)
    }
}

/// Drops low digits beyond `keep` significant ones.
fn limit_digits(c: &mut BigInt, scale: &mut i64, keep: i64) {
    let have = i64::from(super::digits(c.magnitude()));
    if have > keep {
        let drop = (have - keep) as u32;
        *c = div_round(c, &pow10(drop));
        *scale -= i64::from(drop);
    }
}
