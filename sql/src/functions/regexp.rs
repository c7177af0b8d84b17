//! Regular expressions: PostgreSQL's syntax on the `regex` crate's linear-time engine.
//!
//! The pattern is translated: word boundaries, escapes inside brackets, option letters, directors (`***=`). Back-references and
//! look-around need backtracking and are refused (`0A000`). Where alternatives of different lengths match at one place,
//! the first written wins here, the longest in PostgreSQL; greediness otherwise agrees.
//! Compiled patterns are kept per thread, since a pattern is nearly always the same for every row.

use std::cell::RefCell;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};
use rustc_hash::FxHashMap;

use super::FunctionBody;
use super::args::{Entry, err, i4, invalid, one_dimension, opt, s, text, text_array, txt};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, Datum};

/// Compiled patterns a thread keeps.
const CACHE_ENTRIES: usize = 64;
/// Memory one compiled pattern may take.
const PROGRAM_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Options {
    insensitive: bool,
    global: bool,
    literal: bool,
    expanded: bool,
    /// `^` and `$` match at line ends.
    lines: bool,
    /// `.` and negated brackets stop at line ends.
    stop_at_newline: bool,
}

fn options(flags: &str) -> Result<Options> {
    let mut o = Options::default();
    for c in flags.chars() {
        match c {
            'g' => o.global = true,
            'i' => o.insensitive = true,
            'c' => o.insensitive = false,
            'n' | 'm' => (o.lines, o.stop_at_newline) = (true, true),
            's' => (o.lines, o.stop_at_newline) = (false, false),
            'p' => (o.lines, o.stop_at_newline) = (false, true),
            'w' => (o.lines, o.stop_at_newline) = (true, false),
            'x' => o.expanded = true,
            't' => o.expanded = false,
            'q' => o.literal = true,
            'b' | 'e' => {}
            _ => return Err(invalid(format!("invalid regular expression option: \"{c}\""))),
        }
    }
    Ok(o)
}

#[cold]
fn bad_pattern(what: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {what}"))
}

/// Rewrites an advanced regular expression for the `regex` crate.
fn translate(pattern: &str, o: &mut Options) -> Result<String> {
    let mut pattern = pattern;
    if let Some(rest) = pattern.strip_prefix("***") {
        match rest.chars().next() {
            Some('=') => o.literal = true,
            Some(':') => {}
            _ => return Err(bad_pattern("quantifier operand invalid")),
        }
        pattern = &rest[1..];
    }
    if o.literal {
        return Ok(regex::escape(pattern));
    }
    if let Some(rest) = pattern.strip_prefix("(?")
        && let Some(end) = rest.find(')')
        && rest[..end].chars().all(|c| c.is_ascii_alphabetic())
        && end > 0
    {
        let inner = options(&rest[..end]).map_err(|_| bad_pattern("invalid embedded option"))?;
        o.insensitive |= inner.insensitive;
        o.expanded |= inner.expanded;
        o.lines |= inner.lines;
        o.stop_at_newline |= inner.stop_at_newline;
        pattern = &rest[end + 1..];
    }
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '\\' => i = escape(&chars, i, &mut out)?,
            '[' => i = bracket(&chars, i, &mut out, o.stop_at_newline)?,
            '(' if chars.get(i + 1) == Some(&'?') && matches!(chars.get(i + 2), Some('=' | '!' | '<')) => {
                return Err(SqlError::unsupported("look-around in regular expressions"));
            }
            '{' if !chars.get(i + 1).is_some_and(char::is_ascii_digit) => {
                out.push_str("\\{");
                i += 1;
            }
            '{' if chars[i + 1..].split(|c| !c.is_ascii_digit() && *c != ',').next().is_some_and(too_many) => {
                return Err(bad_pattern("invalid repetition count(s)"));
            }
            c @ ('*' | '+' | '?')
                if i == 0 || matches!(chars[i - 1], '(' | '|') && (i < 2 || chars[i - 2] != '\\') && !(c == '?' && chars[i - 1] == '(') =>
            {
                return Err(bad_pattern("quantifier operand invalid"));
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    Ok(out)
}

/// A backslash outside brackets; answers where to go on.
fn escape(chars: &[char], i: usize, out: &mut String) -> Result<usize> {
    let Some(c) = chars.get(i + 1) else { return Err(bad_pattern("invalid escape \\ sequence")) };
    match c {
        'm' => out.push_str("\\b{start}"),
        'M' => out.push_str("\\b{end}"),
        'y' => out.push_str("\\b"),
        'Y' => out.push_str("\\B"),
        'Z' => out.push_str("\\z"),
        'A' => out.push_str("\\A"),
        'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' => {
            out.push('\\');
            out.push(*c);
        }
        'b' => out.push_str("\\x08"),
        'B' => out.push_str("\\\\"),
        'e' => out.push_str("\\x1b"),
        '0' => return Err(SqlError::unsupported("octal escapes in regular expressions")),
        'u' | 'U' | 'x' => {
            let most = match c {
                'u' => 4,
                'U' => 8,
                _ => 255,
            };
            let digits: String = chars[i + 2..].iter().take(most).take_while(|d| d.is_ascii_hexdigit()).collect();
            if digits.is_empty() || (most < 255 && digits.len() < most) {
                return Err(bad_pattern("invalid escape \\ sequence"));
            }
            out.push_str(&format!("\\x{{{digits}}}"));
            return Ok(i + 2 + digits.len());
        }
        '1'..='9' => return Err(SqlError::unsupported("back-references in regular expressions")),
        c if c.is_ascii_alphabetic() => return Err(bad_pattern("invalid escape \\ sequence")),
        c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
    }
    Ok(i + 2)
}

/// A bracket expression; answers where to go on.
fn bracket(chars: &[char], start: usize, out: &mut String, stop_at_newline: bool) -> Result<usize> {
    let rest: String = chars[start..].iter().take(7).collect();
    for (special, becomes) in [("[[:<:]]", "\\b{start}"), ("[[:>:]]", "\\b{end}")] {
        if rest == special {
            out.push_str(becomes);
            return Ok(start + 7);
        }
    }
    let mut i = start + 1;
    out.push('[');
    if chars.get(i) == Some(&'^') {
        out.push('^');
        if stop_at_newline {
            out.push_str("\\n");
        }
        i += 1;
    }
    let first = i;
    loop {
        match chars.get(i) {
            None => return Err(bad_pattern("brackets [] not balanced")),
            Some(']') if i > first => {
                out.push(']');
                return Ok(i + 1);
            }
            Some('[') if matches!(chars.get(i + 1), Some(':' | '.' | '=')) => {
                let mark = chars[i + 1];
                let close = (i + 2..chars.len().saturating_sub(1)).find(|&k| chars[k] == mark && chars[k + 1] == ']');
                let close = close.ok_or_else(|| bad_pattern("brackets [] not balanced"))?;
                let name: String = chars[i + 2..close].iter().collect();
                if mark == ':' {
                    const CLASSES: &[&str] = &[
                        "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit", "word",
                    ];
                    if !CLASSES.contains(&name.as_str()) {
                        return Err(bad_pattern("invalid character class"));
                    }
                    // The classes know more than ASCII, as PostgreSQL's do.
                    let class: &str = match name.as_str() {
                        "alnum" => "\\p{Alphabetic}\\p{Nd}",
                        "alpha" => "\\p{Alphabetic}",
                        "digit" => "\\d",
                        "lower" => "\\p{Lowercase}",
                        "upper" => "\\p{Uppercase}",
                        "space" => "\\s",
                        "word" => "\\w",
                        _ => "",
                    };
                    out.push_str(class);
                    if class.is_empty() {
                        out.push_str(&format!("[:{name}:]"));
                    }
                } else {
                    out.push_str(&regex::escape(&name));
                }
                i = close + 2;
            }
            Some('\\') => i = escape(chars, i, out)?,
            Some('-') => {
                // A dash between two characters is a range; elsewhere it stands for itself.
                let range = i > first && chars.get(i + 1).is_some_and(|c| *c != ']');
                out.push_str(if range { "-" } else { "\\-" });
                i += 1;
            }
            Some(c) => {
                if matches!(c, '[' | ']' | '&' | '~' | '^') {
                    out.push('\\');
                }
                out.push(*c);
                i += 1;
            }
        }
    }
}

thread_local! {
    static CACHE: RefCell<FxHashMap<(String, Options), Arc<Regex>>> = RefCell::default();
}

fn compile(pattern: &str, mut o: Options) -> Result<Arc<Regex>> {
    let key = (pattern.to_owned(), o);
    if let Some(hit) = CACHE.with_borrow(|c| c.get(&key).cloned()) {
        return Ok(hit);
    }
    let translated = translate(pattern, &mut o)?;
    let built = RegexBuilder::new(&translated)
        .case_insensitive(o.insensitive)
        .dot_matches_new_line(!o.stop_at_newline)
        .multi_line(o.lines)
        .ignore_whitespace(o.expanded)
        .size_limit(PROGRAM_BYTES)
        .build()
        .map_err(|e| describe(&e))?;
    let built = Arc::new(built);
    CACHE.with_borrow_mut(|c| {
        if c.len() >= CACHE_ENTRIES {
            c.clear();
        }
        c.insert(key, built.clone());
    });
    Ok(built)
}

/// Whether a bound of a `{m,n}` is above PostgreSQL's limit.
fn too_many(bounds: &[char]) -> bool {
    const REPETITIONS_MAX: u32 = 255;
    let text: String = bounds.iter().collect();
    text.split(',').any(|n| !n.is_empty() && n.parse::<u32>().map_or(true, |n| n > REPETITIONS_MAX))
}

/// The `regex` crate's refusal in PostgreSQL's words.
fn describe(e: &regex::Error) -> SqlError {
    let text = e.to_string();
    bad_pattern(if text.contains("unclosed group") || text.contains("unopened group") {
        "parentheses () not balanced"
    } else if text.contains("character class range") {
        "invalid character range"
    } else if text.contains("repetition") {
        if text.contains("missing expression") { "quantifier operand invalid" } else { "invalid repetition count(s)" }
    } else if matches!(e, regex::Error::CompiledTooBig(_)) {
        "regular expression is too complex"
    } else {
        "not supported by this implementation"
    })
}

fn matches(x: &[Datum], insensitive: bool) -> Result<bool> {
    Ok(compile(text(&x[1])?, Options { insensitive, ..Options::default() })?.is_match(text(&x[0])?))
}

/// The groups of a match as `text[]`, or the whole match if there are none.
fn groups(re: &Regex, c: &Captures<'_>) -> Datum {
    if re.captures_len() == 1 {
        return text_array([&c[0]]);
    }
    one_dimension(DataType::TEXT, (1..re.captures_len()).map(|i| c.get(i).map_or(Datum::Null, |m| txt(m.as_str()))).collect())
}

/// Options of a function that must not be given `g`.
fn not_global(flags: &str, function: &str) -> Result<Options> {
    let o = options(flags)?;
    if o.global {
        let e = invalid(format!("{function}() does not support the \"global\" option"));
        return Err(if function == "regexp_match" { e.hint("Use the regexp_matches function instead.") } else { e });
    }
    Ok(o)
}

/// `\1`, `\&`, `\\` of a replacement.
fn expand(template: &str, c: &Captures<'_>, out: &mut String) {
    let mut chars = template.chars();
    while let Some(ch) = chars.next() {
        if ch != '\\' {
            out.push(ch);
            continue;
        }
        match chars.next() {
            Some(d @ '1'..='9') => out.push_str(c.get(d as usize - '0' as usize).map_or("", |m| m.as_str())),
            Some('&') => out.push_str(&c[0]),
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
}

/// Byte offset of the character position `start` (from one), past the end if beyond.
fn start_offset(s: &str, start: i32) -> Option<usize> {
    let n = start as usize - 1;
    s.char_indices().map(|(i, _)| i).chain([s.len()]).nth(n)
}

/// Replaces the `n`-th match from `start`, or all for `n` = 0.
fn replace(x: &[Datum], o: Options, start: i32, n: i32) -> Result<Datum> {
    let (subject, re, template) = (text(&x[0])?, compile(text(&x[1])?, o)?, text(&x[2])?);
    let Some(from) = start_offset(subject, start) else { return Ok(x[0].clone()) };
    let mut out = subject[..from].to_owned();
    let mut last = from;
    for (k, c) in re.captures_iter(&subject[from..]).enumerate() {
        if n > 0 && k as i32 + 1 != n {
            continue;
        }
        let m = c.get(0).map_or(0..0, |m| m.range());
        out.push_str(&subject[last..from + m.start]);
        expand(template, &c, &mut out);
        last = from + m.end;
        if n > 0 {
            break;
        }
    }
    out.push_str(&subject[last..]);
    super::text_basic::check_length(out.len())?;
    Ok(txt(out))
}

fn positive(v: i32, name: &str, least: i32) -> Result<i32> {
    if v < least { Err(invalid(format!("invalid value for parameter \"{name}\": {v}"))) } else { Ok(v) }
}

/// The pieces between matches; an empty match at the very start or end, or right after a match, does not split.
fn pieces(x: &[Datum], function: &str) -> Result<Vec<Datum>> {
    let flags = opt(x, 2).map(text).transpose()?.unwrap_or("");
    let re = compile(text(&x[1])?, not_global(flags, function)?)?;
    let subject = text(&x[0])?;
    let mut out = Vec::new();
    let mut last = 0;
    for m in re.find_iter(subject) {
        if m.is_empty() && (m.start() == 0 || m.start() >= subject.len() || m.start() == last) {
            continue;
        }
        out.push(txt(&subject[last..m.start()]));
        last = m.end();
    }
    out.push(txt(&subject[last..]));
    Ok(out)
}

/// `regexp_instr(string, pattern, start, N, endoption, flags, subexpr)`.
fn instr(x: &[Datum]) -> Result<Datum> {
    let number = |i: usize, name: &str, default: i32, least: i32| match x.get(i) {
        Some(d) => positive(i4(d)?, name, least),
        None => Ok(default),
    };
    let (start, n) = (number(2, "start", 1, 1)?, number(3, "n", 1, 1)?);
    let end = number(4, "endoption", 0, 0)?;
    if end > 1 {
        return Err(invalid(format!("invalid value for parameter \"endoption\": {end}")));
    }
    let o = not_global(x.get(5).map(text).transpose()?.unwrap_or(""), "regexp_instr")?;
    let group = number(6, "subexpr", 0, 0)?;
    let (subject, re) = (text(&x[0])?, compile(text(&x[1])?, o)?);
    let Some(from) = start_offset(subject, start) else { return Ok(Datum::Int4(0)) };
    let found = re.captures_iter(&subject[from..]).nth(n as usize - 1).and_then(|c| c.get(group as usize).map(|m| m.range()));
    Ok(Datum::Int4(found.map_or(0, |m| {
        let at = from + if end == 1 { m.end } else { m.start };
        subject[..at].chars().count() as i32 + 1
    })))
}

/// `regexp_substr(string, pattern, start, N, flags, subexpr)`.
fn substr(x: &[Datum]) -> Result<Datum> {
    let number = |i: usize, name: &str, default: i32, least: i32| match x.get(i) {
        Some(d) => positive(i4(d)?, name, least),
        None => Ok(default),
    };
    let (start, n) = (number(2, "start", 1, 1)?, number(3, "n", 1, 1)?);
    let o = not_global(x.get(4).map(text).transpose()?.unwrap_or(""), "regexp_substr")?;
    let group = number(5, "subexpr", 0, 0)?;
    let (subject, re) = (text(&x[0])?, compile(text(&x[1])?, o)?);
    let Some(from) = start_offset(subject, start) else { return Ok(Datum::Null) };
    let found = re.captures_iter(&subject[from..]).nth(n as usize - 1).and_then(|c| c.get(group as usize));
    Ok(found.map_or(Datum::Null, |m| txt(m.as_str())))
}

/// `substring(string from pattern)`: the first group if there is one, else the match.
fn regex_substring(subject: &str, pattern: &str) -> Result<Datum> {
    let re = compile(pattern, Options::default())?;
    let Some(c) = re.captures(subject) else { return Ok(Datum::Null) };
    let group = usize::from(re.captures_len() > 1);
    Ok(c.get(group).map_or(Datum::Null, |m| txt(m.as_str())))
}

/// A `SIMILAR TO` pattern as a regular expression. `escape` None: backslash.
///
/// # Errors
/// `22019`/`2200C` for bad escapes.
pub fn similar_to_regexp(pattern: &str, escape: Option<&str>) -> Result<String> {
    let escape = match escape {
        None => Some('\\'),
        Some("") => None,
        Some(e) if e.chars().count() == 1 => e.chars().next(),
        Some(_) => {
            return Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .hint("Escape string must be empty or one character."));
        }
    };
    let mut out = String::from("^(?:");
    let (mut after_escape, mut in_class, mut quotes) = (false, false, 0);
    for c in pattern.chars() {
        if after_escape {
            if c == '"' && !in_class {
                match quotes {
                    0 => out.push_str("){1,1}?("),
                    1 => out.push_str("){1,1}(?:"),
                    _ => {
                        return err(
                            SqlState("2200C"),
                            "SQL regular expression may not contain more than two escape-double-quote separators",
                        );
                    }
                }
                quotes += 1;
            } else {
                out.push('\\');
                out.push(c);
            }
            after_escape = false;
        } else if Some(c) == escape {
            after_escape = true;
        } else if in_class {
            if c == '\\' {
                out.push('\\');
            }
            out.push(c);
            in_class = c != ']';
        } else {
            match c {
                '[' => {
                    out.push(c);
                    in_class = true;
                }
                '%' => out.push_str(".*"),
                '_' => out.push('.'),
                '(' => out.push_str("(?:"),
                '\\' | '.' | '^' | '$' => {
                    out.push('\\');
                    out.push(c);
                }
                c => out.push(c),
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

fn all_matches(x: &[Datum], emit: &mut dyn FnMut(Vec<Datum>) -> Result<()>) -> Result<()> {
    let o = options(opt(x, 2).map(text).transpose()?.unwrap_or(""))?;
    let (subject, re) = (text(&x[0])?, compile(text(&x[1])?, o)?);
    for c in re.captures_iter(subject) {
        emit(vec![groups(&re, &c)])?;
        if !o.global {
            break;
        }
    }
    Ok(())
}

fn first_match(x: &[Datum]) -> Result<Datum> {
    let re = compile(text(&x[1])?, not_global(x.get(2).map(text).transpose()?.unwrap_or(""), "regexp_match")?)?;
    Ok(re.captures(text(&x[0])?).map_or(Datum::Null, |c| groups(&re, &c)))
}

fn count(x: &[Datum]) -> Result<Datum> {
    let start = x.get(2).map(i4).transpose()?.unwrap_or(1);
    positive(start, "start", 1)?;
    let o = not_global(x.get(3).map(text).transpose()?.unwrap_or(""), "regexp_count")?;
    let (subject, re) = (text(&x[0])?, compile(text(&x[1])?, o)?);
    Ok(Datum::Int4(start_offset(subject, start).map_or(0, |from| re.find_iter(&subject[from..]).count() as i32)))
}

fn replace_extended(x: &[Datum]) -> Result<Datum> {
    let start = positive(i4(&x[3])?, "start", 1)?;
    let n = x.get(4).map(|d| positive(i4(d)?, "n", 0)).transpose()?.unwrap_or(1);
    let mut o = options(x.get(5).map(text).transpose()?.unwrap_or(""))?;
    // An explicit N overrides `g`.
    o.global = false;
    replace(x, o, start, n)
}

const fn set(
    key: &'static str,
    rows: fn(&mut super::EvalContext<'_>, &[Datum], &mut dyn FnMut(Vec<Datum>) -> Result<()>) -> Result<()>,
) -> Entry {
    (key, FunctionBody::Set { rows, columns: &[] })
}

pub(super) const ENTRIES: &[Entry] = &[
    s("textregexeq", |_, x| matches(x, false).map(Datum::Bool)),
    s("nameregexeq", |_, x| matches(x, false).map(Datum::Bool)),
    s("textregexne", |_, x| matches(x, false).map(|b| Datum::Bool(!b))),
    s("nameregexne", |_, x| matches(x, false).map(|b| Datum::Bool(!b))),
    s("texticregexeq", |_, x| matches(x, true).map(Datum::Bool)),
    s("nameicregexeq", |_, x| matches(x, true).map(Datum::Bool)),
    s("texticregexne", |_, x| matches(x, true).map(|b| Datum::Bool(!b))),
    s("nameicregexne", |_, x| matches(x, true).map(|b| Datum::Bool(!b))),
    s("regexp_match", |_, x| first_match(x)),
    s("regexp_match_no_flags", |_, x| first_match(x)),
    set("regexp_matches", |_, x, emit| all_matches(x, emit)),
    set("regexp_matches_no_flags", |_, x, emit| all_matches(x, emit)),
    s("textregexreplace_noopt", |_, x| replace(x, Options::default(), 1, 1)),
    s("textregexreplace", |_, x| {
        let flags = text(&x[3])?;
        if flags.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(invalid(format!("invalid regular expression option: \"{}\"", &flags[..1]))
                .hint("If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer explicitly."));
        }
        let o = options(flags)?;
        replace(x, o, 1, i32::from(!o.global))
    }),
    s("textregexreplace_extended", |_, x| replace_extended(x)),
    s("textregexreplace_extended_no_flags", |_, x| replace_extended(x)),
    s("textregexreplace_extended_no_n", |_, x| replace_extended(x)),
    s("regexp_split_to_array", |_, x| pieces(x, "regexp_split_to_array").map(|v| one_dimension(DataType::TEXT, v))),
    s("regexp_split_to_array_no_flags", |_, x| pieces(x, "regexp_split_to_array").map(|v| one_dimension(DataType::TEXT, v))),
    set("regexp_split_to_table", |_, x, emit| pieces(x, "regexp_split_to_table")?.into_iter().try_for_each(|v| emit(vec![v]))),
    set("regexp_split_to_table_no_flags", |_, x, emit| pieces(x, "regexp_split_to_table")?.into_iter().try_for_each(|v| emit(vec![v]))),
    s("regexp_count", |_, x| count(x)),
    s("regexp_count_no_start", |_, x| count(x)),
    s("regexp_count_no_flags", |_, x| count(x)),
    s("regexp_like", |_, x| Ok(Datum::Bool(compile(text(&x[1])?, not_global(text(&x[2])?, "regexp_like")?)?.is_match(text(&x[0])?)))),
    s("regexp_like_no_flags", |_, x| matches(x, false).map(Datum::Bool)),
    s("regexp_instr", |_, x| instr(x)),
    s("regexp_instr_no_start", |_, x| instr(x)),
    s("regexp_instr_no_n", |_, x| instr(x)),
    s("regexp_instr_no_endoption", |_, x| instr(x)),
    s("regexp_instr_no_flags", |_, x| instr(x)),
    s("regexp_instr_no_subexpr", |_, x| instr(x)),
    s("regexp_substr", |_, x| substr(x)),
    s("regexp_substr_no_start", |_, x| substr(x)),
    s("regexp_substr_no_n", |_, x| substr(x)),
    s("regexp_substr_no_flags", |_, x| substr(x)),
    s("regexp_substr_no_subexpr", |_, x| substr(x)),
    s("textregexsubstr", |_, x| regex_substring(text(&x[0])?, text(&x[1])?)),
    s("substring(text,text,text)", |_, x| regex_substring(text(&x[0])?, &similar_to_regexp(text(&x[1])?, Some(text(&x[2])?))?)),
    s("similar_to_escape_2", |_, x| similar_to_regexp(text(&x[0])?, Some(text(&x[1])?)).map(txt)),
    s("similar_to_escape_1", |_, x| similar_to_regexp(text(&x[0])?, None).map(txt)),
    s("similar_escape", |_, x| {
        if let Datum::Null = x[0] {
            return Ok(Datum::Null);
        }
        similar_to_regexp(text(&x[0])?, opt(x, 1).map(text).transpose()?).map(txt)
    }),
];
