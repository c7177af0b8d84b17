//! Random values of the specification (2.1.5, 2.1.6, 4.3.2).

use rand::Rng;

/// The run's constant for NURand over last names; that of the population is [`LOAD_LAST`]. Their difference, 66, is allowed by 2.1.6.1.
const RUN_LAST: i32 = 223;
/// See [`RUN_LAST`].
const LOAD_LAST: i32 = 157;
const CUSTOMER: i32 = 259;
const ITEM: i32 = 7911;

/// A non-uniform number in `x..=y`.
fn nurand(rng: &mut impl Rng, a: i32, c: i32, x: i32, y: i32) -> i32 {
    (((rng.random_range(0..=a) | rng.random_range(x..=y)) + c) % (y - x + 1)) + x
}

/// A customer of a district.
pub fn customer(rng: &mut impl Rng) -> i32 {
    nurand(rng, 1023, CUSTOMER, 1, super::CUSTOMERS)
}

/// An item.
pub fn item(rng: &mut impl Rng) -> i32 {
    nurand(rng, 8191, ITEM, 1, super::ITEMS)
}

/// A last name to look for in a run.
pub fn last_name(rng: &mut impl Rng) -> String {
    name_of(nurand(rng, 255, RUN_LAST, 0, 999))
}

/// The last name of a customer that is loaded.
pub fn loaded_last_name(rng: &mut impl Rng, customer: i32) -> String {
    if customer <= 1000 { name_of(customer - 1) } else { name_of(nurand(rng, 255, LOAD_LAST, 0, 999)) }
}

/// 4.3.2.3
fn name_of(number: i32) -> String {
    const SYLLABLES: [&str; 10] = ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];
    let digit = |n: i32| SYLLABLES[(n % 10) as usize];
    format!("{}{}{}", digit(number / 100), digit(number / 10), digit(number))
}

/// Letters and digits of a length between the two.
pub fn text(rng: &mut impl Rng, min: usize, max: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let length = rng.random_range(min..=max);
    (0..length).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect()
}

/// Digits.
pub fn digits(rng: &mut impl Rng, length: usize) -> String {
    (0..length).map(|_| rng.random_range(b'0'..=b'9') as char).collect()
}

/// 4.3.2.7
pub fn zip(rng: &mut impl Rng) -> String {
    format!("{}11111", digits(rng, 4))
}

/// Data of items and stock: one in ten has "ORIGINAL" somewhere (4.3.3.1).
pub fn data(rng: &mut impl Rng) -> String {
    let mut text = text(rng, 26, 50);
    if rng.random_range(0..10) == 0 {
        let at = rng.random_range(0..=text.len() - 8);
        text.replace_range(at..at + 8, "ORIGINAL");
    }
    text
}

/// A fixed-point number with `scale` digits after the point, as text, between two numbers of its last digits.
pub fn decimal(rng: &mut impl Rng, min: i64, max: i64, scale: u32) -> String {
    fixed(rng.random_range(min..=max), scale)
}

/// `value / 10^scale` as text.
pub fn fixed(value: i64, scale: u32) -> String {
    if scale == 0 {
        return value.to_string();
    }
    let unit = 10i64.pow(scale);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:0width$}", value.abs() / unit, value.abs() % unit, width = scale as usize)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_specification() {
        assert_eq!(name_of(371), "PRICALLYOUGHT");
        assert_eq!(name_of(40), "BARPRESBAR");
        assert_eq!((fixed(-1050, 2), fixed(7, 4), fixed(123, 0)), ("-10.50".into(), "0.0007".into(), "123".into()));
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut original = 0;
        for _ in 0..10_000 {
            assert!((1..=super::super::CUSTOMERS).contains(&customer(&mut rng)));
            assert!((1..=super::super::ITEMS).contains(&item(&mut rng)));
            let data = data(&mut rng);
            assert!((26..=50).contains(&data.len()));
            original += u32::from(data.contains("ORIGINAL"));
        }
        assert!((800..1200).contains(&original), "{original}");
    }
}
