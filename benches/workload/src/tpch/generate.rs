//! One row of a table by its number, from 1 (4.2.3). A row is a function of seed, table and number, so that parts may be loaded in any order, and an
//! order and its lines agree though they are loaded apart.

use std::fmt::Write as _;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A table whose rows are numbered; [`Table::Lineitem`] has those of the order of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Region,
    Nation,
    Part,
    Supplier,
    Partsupp,
    Customer,
    Orders,
    Lineitem,
}

impl Table {
    /// All, in the order in which they are loaded.
    pub const ALL: [Table; 8] =
        [Table::Region, Table::Nation, Table::Part, Table::Supplier, Table::Partsupp, Table::Customer, Table::Orders, Table::Lineitem];

    /// Its name, that of its key's first column, and rows by number at scale 1 (0: the same at all scales).
    pub fn facts(self) -> (&'static str, &'static str, u64) {
        match self {
            Table::Region => ("region", "r_regionkey", 0),
            Table::Nation => ("nation", "n_nationkey", 0),
            Table::Part => ("part", "p_partkey", 200_000),
            Table::Supplier => ("supplier", "s_suppkey", 10_000),
            Table::Partsupp => ("partsupp", "ps_partkey", 200_000),
            Table::Customer => ("customer", "c_custkey", 150_000),
            Table::Orders => ("orders", "o_orderkey", 1_500_000),
            Table::Lineitem => ("lineitem", "l_orderkey", 1_500_000),
        }
    }
}

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
/// Nations and their regions.
const NATIONS: [(&str, usize); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];
const COLOURS: &str = "almond antique aquamarine azure beige bisque black blanched blue blush brown burlywood burnished chartreuse chiffon chocolate \
    coral cornflower cornsilk cream cyan dark deep dim dodger drab firebrick floral forest frosted gainsboro ghost goldenrod green grey honeydew hot \
    indian ivory khaki lace lavender lawn lemon light lime linen magenta maroon medium metallic midnight mint misty moccasin navajo navy olive orange \
    orchid pale papaya peach peru pink plum powder puff purple red rose rosy royal saddle salmon sandy seashell sienna sky slate smoke snow spring \
    steel tan thistle tomato turquoise violet wheat white yellow";
const TYPES: [&[&str]; 3] = [
    &["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"],
    &["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"],
    &["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"],
];
const CONTAINERS: [&[&str]; 2] = [&["SM", "LG", "MED", "JUMBO", "WRAP"], &["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"]];
const SEGMENTS: [&str; 5] = ["AUTOMOBILE", "BUILDING", "FURNITURE", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const INSTRUCTIONS: [&str; 4] = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"];
const MODES: [&str; 7] = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"];
/// Words of comments: fewer than the grammar of 4.2.2.14 has, with those that queries look for as often as it has them, roughly.
const WORDS: &str = "packages requests accounts deposits foxes ideas theodolites instructions dependencies excuses platelets asymptotes courts dolphins \
    special pending unusual express furious sly careful blithe quick fluffy slow quiet ruthless thin close dogged daring brave stealthy permanent \
    sleep wake are cajole haggle nag use boost affix detect integrate maintain nod was lose sublate solve thrash promise engage hinder print about above \
    according across after against along among around at before";

/// Days since 1970-01-01 of 1992-01-01, the first day.
const FIRST_DAY: i32 = 8035;
/// Days of 1992 to 1998.
const DAYS: i32 = 2557;
/// 1995-06-17, "today".
const TODAY: i32 = 9298;

/// Writes rows.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Suppliers in all.
    pub suppliers: u64,
    /// Parts in all.
    pub parts: u64,
    /// Customers in all.
    pub customers: u64,
    /// Randomness.
    pub seed: u64,
}

struct Line {
    part: u64,
    supplier: u64,
    quantity: i64,
    /// In cents.
    price: i64,
    /// In hundredths.
    discount: i64,
    /// In hundredths.
    tax: i64,
    ship: i32,
    commit: i32,
    receipt: i32,
}

impl Generator {
    /// Appends the row of `table` with this number, as COPY reads it; of `partsupp` the four of the part, of `lineitem` all of the order.
    pub fn write(&self, out: &mut String, table: Table, number: u64) {
        // One stream for an order and its lines.
        let stream = if table == Table::Lineitem { Table::Orders } else { table };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream as u64) << 56 ^ number);
        let rng = &mut rng;
        // Writing to a string cannot fail.
        let _ = match table {
            Table::Region => {
                let n = number - 1;
                writeln!(out, "{n}\t{}\t{}", REGIONS[n as usize % REGIONS.len()], comment(rng, 31, 115))
            }
            Table::Nation => {
                let n = number - 1;
                let (name, region) = NATIONS[n as usize % NATIONS.len()];
                writeln!(out, "{n}\t{name}\t{region}\t{}", comment(rng, 31, 114))
            }
            Table::Part => part(out, rng, number),
            Table::Supplier => {
                let nation = rng.random_range(0..25);
                let (address, phone, balance) = (address(rng), phone(rng, nation), money(rng.random_range(-99_999..=999_999)));
                writeln!(out, "{number}\tSupplier#{number:09}\t{address}\t{nation}\t{phone}\t{balance}\t{}", supplier_comment(rng))
            }
            Table::Partsupp => {
                for n in 0..4 {
                    let supplier = self.supplier_of(number, n);
                    let (quantity, cost) = (rng.random_range(1..=9_999), money(rng.random_range(100..=100_000)));
                    let _ = writeln!(out, "{number}\t{supplier}\t{quantity}\t{cost}\t{}", comment(rng, 49, 198));
                }
                Ok(())
            }
            Table::Customer => {
                let nation = rng.random_range(0..25);
                let (address, phone, balance) = (address(rng), phone(rng, nation), money(rng.random_range(-99_999..=999_999)));
                let (segment, comment) = (pick(rng, &SEGMENTS), comment(rng, 29, 116));
                writeln!(out, "{number}\tCustomer#{number:09}\t{address}\t{nation}\t{phone}\t{balance}\t{segment}\t{comment}")
            }
            Table::Orders => self.order(out, rng, number),
            Table::Lineitem => self.lineitem(out, rng, number),
        };
    }

    /// The `n`th of the four suppliers of a part (4.2.3). Below scale 1 the specification's step may lead to the same one twice: the next that does
    /// not is taken.
    fn supplier_of(&self, part: u64, n: u64) -> u64 {
        let mut step = self.suppliers / 4 + (part - 1) / self.suppliers;
        while (1..4).any(|n: u64| (n * step).is_multiple_of(self.suppliers)) {
            step += 1;
        }
        (part + n * step) % self.suppliers + 1
    }

    /// The date of an order and its lines: the first of its random stream, for both tables.
    fn lines(&self, rng: &mut ChaCha8Rng) -> (i32, Vec<Line>) {
        let date = FIRST_DAY + rng.random_range(0..DAYS - 151);
        let count = rng.random_range(1..=7);
        let line = |_| {
            let part = rng.random_range(1..=self.parts);
            let quantity = rng.random_range(1..=50);
            let ship = date + rng.random_range(1..=121);
            Line {
                part,
                supplier: self.supplier_of(part, rng.random_range(0..4)),
                quantity,
                price: quantity * retail_cents(part),
                discount: rng.random_range(0..=10),
                tax: rng.random_range(0..=8),
                ship,
                commit: date + rng.random_range(30..=90),
                receipt: ship + rng.random_range(1..=30),
            }
        };
        (date, (0..count).map(line).collect())
    }

    fn order(&self, out: &mut String, rng: &mut ChaCha8Rng, number: u64) -> std::fmt::Result {
        let (date, lines) = self.lines(rng);
        let open = lines.iter().filter(|l| l.ship > TODAY).count();
        let status = match open {
            0 => 'F',
            n if n == lines.len() => 'O',
            _ => 'P',
        };
        let total: i64 = lines.iter().map(|l| l.price * (100 + l.tax) * (100 - l.discount) / 10_000).sum();
        // A third of the customers never orders.
        let mut customer = rng.random_range(1..=self.customers);
        while customer % 3 == 0 {
            customer -= 1;
        }
        let clerk = rng.random_range(1..=(self.suppliers / 10).max(1));
        let (priority, comment) = (pick(rng, &PRIORITIES), comment(rng, 19, 78));
        let (key, date, total) = (order_key(number), day(date), money(total));
        writeln!(out, "{key}\t{customer}\t{status}\t{total}\t{date}\t{priority}\tClerk#{clerk:09}\t0\t{comment}")
    }

    fn lineitem(&self, out: &mut String, rng: &mut ChaCha8Rng, number: u64) -> std::fmt::Result {
        let key = order_key(number);
        let (_, lines) = self.lines(rng);
        for (n, line) in lines.iter().enumerate() {
            let returned = match line.receipt <= TODAY {
                true if rng.random() => 'R',
                true => 'A',
                false => 'N',
            };
            let status = if line.ship > TODAY { 'O' } else { 'F' };
            let (price, discount, tax) = (money(line.price), money(line.discount), money(line.tax));
            let (ship, commit, receipt) = (day(line.ship), day(line.commit), day(line.receipt));
            let (instruction, mode, comment) = (pick(rng, &INSTRUCTIONS), pick(rng, &MODES), comment(rng, 10, 43));
            writeln!(
                out,
                "{key}\t{}\t{}\t{}\t{}\t{price}\t{discount}\t{tax}\t{returned}\t{status}\t{ship}\t{commit}\t{receipt}\t{instruction}\t{mode}\t{comment}",
                line.part,
                line.supplier,
                n + 1,
                line.quantity
            )?;
        }
        Ok(())
    }
}

fn part(out: &mut String, rng: &mut ChaCha8Rng, number: u64) -> std::fmt::Result {
    let colours: Vec<&str> = COLOURS.split_whitespace().collect();
    let name: Vec<&str> = colours.choose_multiple(rng, 5).copied().collect();
    let maker = rng.random_range(1..=5);
    let brand = maker * 10 + rng.random_range(1..=5);
    let kind = TYPES.map(|syllable| pick(rng, syllable)).join(" ");
    let size = rng.random_range(1..=50);
    let container = CONTAINERS.map(|syllable| pick(rng, syllable)).join(" ");
    let (price, comment) = (money(retail_cents(number)), comment(rng, 5, 22));
    writeln!(out, "{number}\t{}\tManufacturer#{maker}\tBrand#{brand}\t{kind}\t{size}\t{container}\t{price}\t{comment}", name.join(" "))
}

fn retail_cents(part: u64) -> i64 {
    (90_000 + (part / 10) % 20_001 + 100 * (part % 1_000)) as i64
}

/// Eight of 32 keys are used (4.2.3).
pub fn order_key(number: u64) -> u64 {
    (number - 1) / 8 * 32 + (number - 1) % 8 + 1
}

fn pick<'a>(rng: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
    from[rng.random_range(0..from.len())]
}

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn address(rng: &mut ChaCha8Rng) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789, ";
    (0..rng.random_range(10..=40)).map(|_| LETTERS[rng.random_range(0..LETTERS.len())] as char).collect()
}

fn phone(rng: &mut ChaCha8Rng, nation: u32) -> String {
    let (a, b, c) = (rng.random_range(100..=999), rng.random_range(100..=999), rng.random_range(1_000..=9_999));
    format!("{}-{a}-{b}-{c}", nation + 10)
}

/// Words of a length in characters between the two.
fn comment(rng: &mut ChaCha8Rng, min: usize, max: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let length = rng.random_range(min..=max);
    let mut out = String::new();
    while out.len() < length {
        out.push_str(pick(rng, &words));
        out.push(' ');
    }
    out.truncate(length);
    out.trim_end().to_owned()
}

/// Five suppliers of 10,000 are complained about, five are recommended (4.2.3); here ten and ten, that small scales have some.
fn supplier_comment(rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..1_000) {
        0 => format!("{} Customer {} Complaints", comment(rng, 10, 30), comment(rng, 5, 20)),
        1 => format!("{} Customer {} Recommends", comment(rng, 10, 30), comment(rng, 5, 20)),
        _ => comment(rng, 25, 100),
    }
}

/// `YYYY-MM-DD` of days since 1970-01-01 (Howard Hinnant's algorithm).
fn day(days: i32) -> String {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    format!("{year}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Generator = Generator { suppliers: 100, parts: 2_000, customers: 1_500, seed: 1 };

    fn rows(table: Table, number: u64) -> Vec<Vec<String>> {
        let mut out = String::new();
        SMALL.write(&mut out, table, number);
        out.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn days_are_dates() {
        assert_eq!((day(0), day(FIRST_DAY), day(TODAY)), ("1970-01-01".into(), "1992-01-01".into(), "1995-06-17".into()));
        assert_eq!((day(FIRST_DAY + DAYS - 1), day(9_190)), ("1998-12-31".into(), "1995-03-01".into()));
    }

    #[test]
    fn orders_and_their_lines_agree_and_keys_exist() {
        let cents = |text: &str| text.replace('.', "").parse::<i64>().unwrap_or_else(|e| panic!("{text}: {e}"));
        for number in 1..500 {
            let (order, lines) = (&rows(Table::Orders, number)[0], rows(Table::Lineitem, number));
            assert_eq!(order.len(), 9);
            let mut total = 0;
            for line in &lines {
                assert_eq!((line.len(), &line[0]), (16, &order[0]));
                let quantity: i64 = line[4].parse().unwrap_or_default();
                let part: u64 = line[1].parse().unwrap_or_default();
                assert_eq!(cents(&line[5]), quantity * retail_cents(part));
                assert!((0..4).any(|n| SMALL.supplier_of(part, n).to_string() == line[2]), "{line:?}");
                total += cents(&line[5]) * (100 + cents(&line[7])) * (100 - cents(&line[6])) / 10_000;
                assert!(line[10] > order[4] && line[12] > line[10], "{line:?}");
            }
            assert_eq!(cents(&order[3]), total);
            let open = lines.iter().filter(|l| l[9] == "O").count();
            assert_eq!(
                order[2],
                if open == 0 {
                    "F"
                } else if open == lines.len() {
                    "O"
                } else {
                    "P"
                }
            );
        }
        assert_eq!((order_key(8), order_key(9)), (8, 33));
    }

    #[test]
    fn the_four_suppliers_of_a_part_differ_at_every_scale() {
        for suppliers in [10, 100, 150, 1_000, 10_000] {
            let all = Generator { suppliers, parts: suppliers * 20, customers: 1, seed: 1 };
            for part in 1..=all.parts {
                let four: std::collections::BTreeSet<u64> = (0..4).map(|n| all.supplier_of(part, n)).collect();
                assert!(four.len() == 4 && four.iter().all(|s| (1..=suppliers).contains(s)), "{suppliers}, {part}: {four:?}");
            }
        }
    }
}
