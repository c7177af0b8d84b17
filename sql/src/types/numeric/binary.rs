//! Binary wire form of `numeric`: base-10000 digits with weight, sign and display scale.

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{ToPrimitive, Zero};

use super::{MAX_SCALE, Numeric, pow10};
use crate::error::{Result, SqlError, SqlState};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const PINF: u16 = 0xD000;
const NINF: u16 = 0xF000;

impl Numeric {
    /// Appends the binary form.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        let mut head = |ndigits: u16, weight: i16, sign: u16, scale: u16| {
            for field in [ndigits, weight as u16, sign, scale] {
                out.extend_from_slice(&field.to_be_bytes());
            }
        };
        let (c, s) = match self {
            Numeric::NaN => return head(0, 0, NAN, 0),
            Numeric::Infinity => return head(0, 0, PINF, 0x20),
            Numeric::NegInfinity => return head(0, 0, NINF, 0x20),
            Numeric::Finite(c, s) => (c, *s),
        };
        if c.is_zero() {
            return head(0, 0, POSITIVE, s as u16);
        }
        // Align the fraction to groups of four digits, then peel groups off the low end.
        let groups_below = s.div_ceil(4);
        let aligned: BigUint = c.magnitude() * pow10(groups_below * 4 - s).magnitude();
        let mut groups = base_10000(&aligned);
        let mut weight = groups.len() as i64 - 1 - i64::from(groups_below);
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let leading = groups.iter().take_while(|&&g| g == 0).count();
        groups.drain(..leading);
        weight -= leading as i64;
        head(groups.len() as u16, weight as i16, if c.sign() == Sign::Minus { NEGATIVE } else { POSITIVE }, s as u16);
        for group in groups {
            out.extend_from_slice(&group.to_be_bytes());
        }
    }

    /// Reads the binary form.
    pub fn read_binary(bytes: &[u8]) -> Result<Numeric> {
        let bad =
            |what: &str| SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, format!("invalid {what} in external \"numeric\" value"));
        let field = |i: usize| -> Result<u16> {
            let at = bytes
                .get(i * 2..i * 2 + 2)
                .ok_or_else(|| SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"))?;
            Ok(u16::from_be_bytes([at[0], at[1]]))
        };
        let (ndigits, weight, sign, scale) = (field(0)?, field(1)? as i16, field(2)?, u32::from(field(3)?));
        match sign {
            NAN => return Ok(Numeric::NaN),
            PINF => return Ok(Numeric::Infinity),
            NINF => return Ok(Numeric::NegInfinity),
            POSITIVE | NEGATIVE => {}
            _ => return Err(bad("sign")),
        }
        if scale > MAX_SCALE {
            return Err(bad("scale"));
        }
        if bytes.len() != 8 + usize::from(ndigits) * 2 {
            return Err(SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format"));
        }
        let mut text = Vec::with_capacity(usize::from(ndigits) * 4);
        for i in 0..usize::from(ndigits) {
            let group = field(4 + i)?;
            if group > 9999 {
                return Err(bad("digit"));
            }
            for unit in [1000, 100, 10, 1] {
                text.push(b'0' + (group / unit % 10) as u8);
            }
        }
        if text.is_empty() {
            return Numeric::new(BigInt::zero(), scale);
        }
        let mut c = BigInt::parse_bytes(&text, 10).unwrap_or_default();
        if sign == NEGATIVE {
            c = -c;
        }
        // The last group stands for 10000^(weight - ndigits + 1); digits beyond the display scale are cut, as PostgreSQL does.
        let shift = (i64::from(weight) - i64::from(ndigits) + 1) * 4 + i64::from(scale);
        let c = if shift >= 0 { c * pow10(shift as u32) } else { c / pow10(-shift as u32) };
        Numeric::new(c, scale)
    }
}

/// Base-10000 digits, most significant first.
fn base_10000(n: &BigUint) -> Vec<u16> {
    if let Some(mut small) = n.to_u64() {
        let mut groups = Vec::new();
        while small > 0 {
            groups.push((small % 10_000) as u16);
            small /= 10_000;
        }
        groups.reverse();
        return groups;
    }
    let text = n.to_string().into_bytes();
    let first = text.len() % 4;
    let (head, tail) = text.split_at(first);
    let group = |digits: &[u8]| digits.iter().fold(0u16, |g, d| g * 10 + u16::from(d - b'0'));
    let mut groups = Vec::with_capacity(text.len() / 4 + 1);
    if !head.is_empty() {
        groups.push(group(head));
    }
    groups.extend(tail.chunks(4).map(group));
    groups
}
