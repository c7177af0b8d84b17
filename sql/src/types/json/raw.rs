//! `->` and its kin on `json` text: slices of valid JSON, found without building a value.

/// Skips white space.
fn space(text: &str, mut at: usize) -> usize {
    while matches!(text.as_bytes().get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// End of the value that starts at `at` in valid JSON.
fn value_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut i = at;
    let mut depth = 0usize;
    while i < bytes.len() {
        match bytes[i] {
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += 1 + usize::from(bytes[i] == b'\\');
                }
                i += 1;
                if depth == 0 {
                    return i.min(bytes.len());
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth <= 1 {
                    return i + usize::from(depth == 1);
                }
                depth -= 1;
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' | b':' if depth == 0 => return i,
            _ => {}
        }
        i += 1;
    }
    bytes.len()
}

/// The elements of a JSON array as text, or None if it is not an array.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let mut at = space(text, 0);
    if text.as_bytes().get(at) != Some(&b'[') {
        return None;
    }
    let mut out = Vec::new();
    at = space(text, at + 1);
    while at < text.len() && text.as_bytes()[at] != b']' {
        let end = value_end(text, at);
        out.push(&text[at..end]);
        at = space(text, end);
        if text.as_bytes().get(at) == Some(&b',') {
            at = space(text, at + 1);
        }
    }
    Some(out)
}

/// The members of a JSON object, keys decoded and values as text, in the order given (duplicates kept); None if it is not an object.
pub fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let mut at = space(text, 0);
    if text.as_bytes().get(at) != Some(&b'{') {
        return None;
    }
    let mut out = Vec::new();
    at = space(text, at + 1);
    while at < text.len() && text.as_bytes()[at] != b'}' {
        let key_end = value_end(text, at);
        let key = unquote(&text[at..key_end]).unwrap_or_default();
        at = space(text, key_end);
        at = space(text, at + 1);
        let end = value_end(text, at);
        out.push((key, &text[at..end]));
        at = space(text, end);
        if text.as_bytes().get(at) == Some(&b',') {
            at = space(text, at + 1);
        }
    }
    Some(out)
}

/// `json -> 'key'`: the last member of that name.
pub fn get<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    members(text)?.into_iter().rev().find(|(k, _)| k == key).map(|(_, v)| v)
}

/// `json -> index`; negative counts from the end.
pub fn get_index(text: &str, index: i64) -> Option<&str> {
    let all = elements(text)?;
    let index = if index < 0 { index + all.len() as i64 } else { index };
    usize::try_from(index).ok().and_then(|i| all.get(i).copied())
}

/// `json #> path`
pub fn get_path<'a, S: AsRef<str>>(text: &'a str, path: &[S]) -> Option<&'a str> {
    let mut at = text;
    for step in path {
        let step = step.as_ref();
        at = match type_name(at) {
            "object" => get(at, step)?,
            "array" => get_index(at, step.trim().parse().ok()?)?,
            _ => return None,
        };
    }
    Some(at)
}

/// `->>`: a string without its quotes, anything else as it is; None for JSON null.
pub fn as_text(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        Some(b'"') => unquote(text),
        Some(b'n') => None,
        _ => Some(text.to_owned()),
    }
}

fn unquote(text: &str) -> Option<String> {
    match super::parse(text) {
        Ok(super::Jsonb::String(s)) => Some(s.to_string()),
        _ => None,
    }
}

/// `json_typeof`
pub fn type_name(text: &str) -> &'static str {
    match text.as_bytes().get(space(text, 0)) {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}
