//! Numeric templates. The writer follows PostgreSQL's `NUM_processor` step by step, names included, because its blanks and signs
//! follow from the order of its steps rather than from any rule.

use crate::error::{Result, SqlError, SqlState};
use crate::functions::args::{Entry, err, f8, i8, numeric, s, text, txt};
use crate::functions::numeric::num;
use crate::types::{Datum, Numeric};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Node {
    Nine,
    Zero,
    Point,
    Group,
    Currency,
    Minus,
    Plus,
    Sign,
    Ordinal(bool),
    Roman(bool),
    Nothing,
    Literal(char),
}

/// What the template asks for (`NUMDesc`).
#[derive(Default)]
struct Template {
    nodes: Vec<Node>,
    pre: usize,
    post: usize,
    fill: bool,
    decimal: bool,
    zero: bool,
    zero_start: usize,
    zero_end: usize,
    lsign: bool,
    lsign_pre: bool,
    pre_lsign_num: usize,
    plus: bool,
    minus: bool,
    bracket: bool,
    multi: Option<usize>,
    roman: bool,
    exponent: bool,
}

fn syntax<T>(message: &str) -> Result<T> {
    err(SqlState::SYNTAX_ERROR, message)
}

fn parse(template: &str) -> Result<Template> {
    const WORDS: &[&str] = &["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "TH", "V", "9", "0", ".", ",", "D", "G", "L", "S", "B", "C"];
    let mut t = Template::default();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            t.nodes.extend(quoted[..end].chars().map(Node::Literal));
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        if let Some(escaped) = rest.strip_prefix("\\\"") {
            t.nodes.push(Node::Literal('"'));
            rest = escaped;
            continue;
        }
        let word =
            WORDS.iter().find(|w| rest.len() >= w.len() && rest.is_char_boundary(w.len()) && rest[..w.len()].eq_ignore_ascii_case(w));
        let Some(word) = word else {
            t.nodes.push(Node::Literal(c));
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let lower = rest.starts_with(|c: char| c.is_ascii_lowercase());
        rest = &rest[word.len()..];
        if t.exponent && *word != "EEEE" && !matches!(*word, "FM") {
            return syntax("\"EEEE\" must be the last pattern used");
        }
        let node = keyword(&mut t, word, lower)?;
        t.nodes.push(node);
    }
    if t.exponent && (t.fill || t.lsign || t.bracket || t.minus || t.plus || t.roman || t.multi.is_some()) {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "\"EEEE\" is incompatible with other formats")
            .detail("\"EEEE\" may only be used together with digit and decimal point patterns."));
    }
    Ok(t)
}

fn keyword(t: &mut Template, word: &str, lower: bool) -> Result<Node> {
    Ok(match word {
        "9" => {
            if t.bracket {
                return syntax("\"9\" must be ahead of \"PR\"");
            }
            match &mut t.multi {
                Some(n) => *n += 1,
                None if t.decimal => t.post += 1,
                None => t.pre += 1,
            }
            Node::Nine
        }
        "0" => {
            if t.bracket {
                return syntax("\"0\" must be ahead of \"PR\"");
            }
            if !t.zero && !t.decimal {
                t.zero = true;
                t.zero_start = t.pre + 1;
            }
            if t.decimal {
                t.post += 1;
            } else {
                t.pre += 1;
            }
            t.zero_end = t.pre + t.post;
            Node::Zero
        }
        "." | "D" => {
            if t.decimal {
                return syntax("multiple decimal points");
            }
            if t.multi.is_some() {
                return syntax("cannot use \"V\" and decimal point together");
            }
            t.decimal = true;
            Node::Point
        }
        "," | "G" => Node::Group,
        "L" | "C" => Node::Currency,
        "FM" => {
            t.fill = true;
            Node::Nothing
        }
        "S" => {
            if t.lsign {
                return syntax("cannot use \"S\" twice");
            }
            if t.plus || t.minus || t.bracket {
                return syntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
            }
            t.lsign = true;
            if !t.decimal {
                t.lsign_pre = true;
                t.pre_lsign_num = t.pre;
            }
            Node::Nothing
        }
        "MI" => {
            if t.lsign {
                return syntax("cannot use \"S\" and \"MI\" together");
            }
            t.minus = true;
            Node::Minus
        }
        "PL" => {
            if t.lsign {
                return syntax("cannot use \"S\" and \"PL\" together");
            }
            t.plus = true;
            Node::Plus
        }
        "SG" => {
            if t.lsign {
                return syntax("cannot use \"S\" and \"SG\" together");
            }
            t.minus = true;
            t.plus = true;
            Node::Sign
        }
        "PR" => {
            if t.lsign || t.plus || t.minus {
                return syntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together");
            }
            t.bracket = true;
            Node::Nothing
        }
        "RN" => {
            t.roman = true;
            Node::Roman(lower)
        }
        "TH" => Node::Ordinal(lower),
        "V" => {
            if t.decimal {
                return syntax("cannot use \"V\" and decimal point together");
            }
            t.multi = Some(0);
            Node::Nothing
        }
        "EEEE" => {
            t.exponent = true;
            Node::Nothing
        }
        _ => Node::Nothing,
    })
}

/// `st`, `nd`, `rd`, `th` of a decimal number.
pub(super) fn ordinal(digits: &str, lower: bool) -> &'static str {
    let teen = digits.len() >= 2 && digits.as_bytes()[digits.len() - 2] == b'1';
    let i = match digits.as_bytes().last() {
        Some(b'1') if !teen => 0,
        Some(b'2') if !teen => 1,
        Some(b'3') if !teen => 2,
        _ => 3,
    };
    if lower { ["st", "nd", "rd", "th"][i] } else { ["ST", "ND", "RD", "TH"][i] }
}

fn roman(n: i64) -> String {
    if !(1..=3999).contains(&n) {
        return "#".repeat(15);
    }
    const PARTS: &[(i64, &str)] = &[
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let (mut n, mut out) = (n, String::new());
    for (v, r) in PARTS {
        while n >= *v {
            out.push_str(r);
            n -= v;
        }
    }
    out
}

/// Writer state (`NUMProc`).
struct Writer<'a> {
    t: &'a Template,
    negative: bool,
    number: Vec<u8>,
    at: usize,
    sign_wrote: bool,
    num_in: bool,
    num_curr: usize,
    num_count: usize,
    out_pre_spaces: usize,
    zero_start: usize,
    lsign_pre: bool,
    bracket: bool,
    last_relevant: Option<usize>,
    out: String,
}

impl Writer<'_> {
    fn relevant_is_point(&self) -> bool {
        self.last_relevant.is_some_and(|p| self.number.get(p) == Some(&b'.'))
    }
    fn predec_space(&self) -> bool {
        !self.t.zero && self.at == 0 && self.number.first() == Some(&b'0') && self.t.post != 0
    }
    fn sign_first(&mut self) {
        let begins = self.num_curr >= self.out_pre_spaces || (self.t.zero && self.zero_start == self.num_curr);
        if self.sign_wrote || !begins || (self.predec_space() && !self.relevant_is_point()) {
            return;
        }
        if self.t.lsign {
            if self.lsign_pre {
                self.out.push(if self.negative { '-' } else { '+' });
                self.sign_wrote = true;
            }
        } else if self.bracket {
            self.out.push(if self.negative { '<' } else { ' ' });
            self.sign_wrote = true;
        } else {
            if self.negative {
                self.out.push('-');
            } else if !self.t.fill {
                self.out.push(' ');
            }
            self.sign_wrote = true;
        }
    }
    fn part(&mut self, node: Node) {
        if self.t.roman {
            return;
        }
        self.num_in = false;
        self.sign_first();
        if self.num_curr < self.out_pre_spaces && (self.zero_start > self.num_curr || !self.t.zero) {
            if !self.t.fill {
                self.out.push(' ');
            }
        } else if self.t.zero && self.num_curr < self.out_pre_spaces {
            self.out.push('0');
            self.num_in = true;
        } else {
            match self.number.get(self.at).copied() {
                Some(b'.') => {
                    if !self.relevant_is_point() || self.t.fill {
                        self.out.push('.');
                    }
                }
                digit => {
                    if self.last_relevant.is_some_and(|p| self.at > p) && node != Node::Zero {
                        // A trailing zero that FM leaves out.
                    } else if self.predec_space() {
                        if !self.t.fill {
                            self.out.push(' ');
                        } else if self.relevant_is_point() {
                            self.out.push('0');
                        }
                    } else if let Some(d) = digit {
                        self.out.push(d as char);
                        self.num_in = true;
                    }
                }
            }
            if self.at < self.number.len() {
                self.at += 1;
            }
        }
        let mut end = self.num_count + usize::from(self.out_pre_spaces > 0) + usize::from(self.t.decimal);
        if self.last_relevant == Some(self.at) {
            end = self.num_curr;
        }
        if self.num_curr + 1 == end {
            if self.sign_wrote && self.bracket {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.t.lsign && !self.lsign_pre {
                self.out.push(if self.negative { '-' } else { '+' });
            }
        }
        self.num_curr += 1;
    }
    fn node(&mut self, node: Node) {
        match node {
            Node::Nine | Node::Zero | Node::Point => self.part(node),
            Node::Group => {
                if self.num_in {
                    self.out.push(',');
                } else if !self.t.fill {
                    self.out.push(' ');
                }
            }
            Node::Currency => self.out.push(' '),
            Node::Minus => {
                if self.negative {
                    self.out.push('-');
                } else if !self.t.fill {
                    self.out.push(' ');
                }
            }
            Node::Plus => {
                if !self.negative {
                    self.out.push('+');
                } else if !self.t.fill {
                    self.out.push(' ');
                }
            }
            Node::Sign => self.out.push(if self.negative { '-' } else { '+' }),
            Node::Ordinal(lower) => {
                if !self.t.roman && self.number.first() != Some(&b'#') && !self.negative && !self.t.decimal {
                    let digits = String::from_utf8_lossy(&self.number).into_owned();
                    self.out.push_str(ordinal(&digits, lower));
                }
            }
            Node::Roman(_) => {
                let r = String::from_utf8_lossy(&self.number).into_owned();
                if self.t.fill { self.out.push_str(&r) } else { self.out.push_str(&format!("{r:>15}")) }
            }
            Node::Literal(c) => self.out.push(c),
            Node::Nothing => {}
        }
    }
}

fn scientific(n: &Numeric, t: &Template) -> String {
    if !n.is_finite() {
        return format!(" {}{}{}", "#".repeat(t.pre), if t.decimal { "." } else { "" }, "#".repeat(t.post));
    }
    let v = n.to_f64();
    let shown = format!("{:.*e}", t.post, v);
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let e: i32 = exponent.parse().unwrap_or(0);
    format!("{}{mantissa}e{}{:02}", if v < 0.0 { "" } else { " " }, if e < 0 { '-' } else { '+' }, e.abs())
}

/// `to_char(numeric, template)`.
fn format(n: &Numeric, template: &str) -> Result<String> {
    let t = parse(template)?;
    if t.exponent {
        return Ok(scientific(n, &t));
    }
    let mut pre = t.pre;
    let mut value = n.clone();
    if let Some(multi) = t.multi {
        pre += multi;
        value = value.mul(&Numeric::Finite(num_bigint::BigInt::from(10).pow(multi as u32), 0))?;
    }
    let rounded = if t.roman { value.round(0) } else { value.round(t.post as i64) };
    let shown = rounded.to_string();
    let negative = shown.starts_with('-');
    let digits = shown.trim_start_matches('-').to_owned();
    let (number, out_pre_spaces) = if t.roman {
        let r = roman(rounded.to_i64_exact().unwrap_or(-1));
        (if t.nodes.contains(&Node::Roman(true)) { r.to_lowercase() } else { r }, 0)
    } else {
        let whole = digits.split('.').next().unwrap_or("").len();
        if !value.is_finite() || whole > pre {
            // Too wide: as many marks as the template has digits.
            let marks = format!("{}{}", "#".repeat(pre), if t.decimal { format!(".{}", "#".repeat(t.post)) } else { String::new() });
            (marks, 0)
        } else {
            (digits, pre - whole)
        }
    };
    let mut w = Writer {
        negative: negative && !t.roman,
        at: 0,
        sign_wrote: false,
        num_in: false,
        num_curr: 0,
        num_count: (t.post + pre).saturating_sub(1),
        out_pre_spaces,
        zero_start: t.zero_start.saturating_sub(1),
        lsign_pre: t.lsign_pre,
        bracket: t.bracket,
        last_relevant: None,
        out: String::new(),
        number: number.into_bytes(),
        t: &t,
    };
    if t.plus || t.minus {
        w.sign_wrote = !t.plus || t.minus;
    } else {
        if !negative && t.bracket && t.fill {
            w.bracket = false;
        }
        w.sign_wrote = !negative && t.fill && !t.lsign;
        if w.lsign_pre && t.pre == t.pre_lsign_num {
            w.lsign_pre = false;
        }
    }
    if t.fill
        && t.decimal
        && let Some(point) = w.number.iter().position(|b| *b == b'.')
    {
        let last = (point + 1..w.number.len()).rev().find(|i| w.number[*i] != b'0').unwrap_or(point);
        let kept = if t.zero_end > w.out_pre_spaces { (w.number.len() - 1).min(t.zero_end - w.out_pre_spaces) } else { 0 };
        w.last_relevant = Some(last.max(kept));
    }
    if !w.sign_wrote && w.out_pre_spaces == 0 {
        w.num_count += 1;
    }
    for node in t.nodes.clone() {
        w.node(node);
    }
    Ok(w.out)
}

/// `to_number`: the digits, sign and point that the template's places meet.
fn read(input: &str, template: &str) -> Result<Datum> {
    let t = parse(template)?;
    let mut out = String::new();
    let mut negative = false;
    let mut rest = input.trim_start().chars().peekable();
    for node in &t.nodes {
        if let Some(sign) = rest.peek().copied().filter(|c| matches!(c, '-' | '+' | '<')) {
            negative |= sign != '+';
            rest.next();
        }
        match node {
            Node::Nine | Node::Zero => {
                while rest.peek() == Some(&' ') {
                    rest.next();
                }
                if let Some(d) = rest.peek().copied().filter(char::is_ascii_digit) {
                    out.push(d);
                    rest.next();
                }
            }
            Node::Point => {
                if rest.peek() == Some(&'.') {
                    out.push('.');
                    rest.next();
                }
            }
            Node::Group => {
                if rest.peek() == Some(&',') {
                    rest.next();
                }
            }
            Node::Nothing | Node::Minus | Node::Plus | Node::Sign => {}
            Node::Roman(_) => return Err(SqlError::unsupported("\"RN\" for input")),
            _ => {
                rest.next();
            }
        }
    }
    negative |= rest.peek().is_some_and(|c| *c == '-');
    if !out.bytes().any(|b| b.is_ascii_digit()) {
        return err(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type numeric: \" \"");
    }
    let mut n = Numeric::parse(&format!("{}{out}", if negative { "-" } else { "" }))?;
    if let Some(multi) = t.multi {
        n = n.div(&Numeric::Finite(num_bigint::BigInt::from(10).pow(multi as u32), 0))?;
    }
    Ok(num(n))
}

pub(super) const ENTRIES: &[Entry] = &[
    s("numeric_to_char", |_, x| format(numeric(&x[0])?, text(&x[1])?).map(txt)),
    s("int4_to_char", |_, x| format(&Numeric::from(i8(&x[0])?), text(&x[1])?).map(txt)),
    s("int8_to_char", |_, x| format(&Numeric::from(i8(&x[0])?), text(&x[1])?).map(txt)),
    s("float4_to_char", |_, x| format(&Numeric::from_f32(super::super::args::f4(&x[0])?), text(&x[1])?).map(txt)),
    s("float8_to_char", |_, x| format(&Numeric::from_f64(f8(&x[0])?), text(&x[1])?).map(txt)),
    s("numeric_to_number", |_, x| read(text(&x[0])?, text(&x[1])?)),
];
