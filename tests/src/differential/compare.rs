//! Two answers to one statement: the same, or a list of how they differ.

use super::client::Answer;

/// How many rows of a differing result are shown.
const SHOWN_ROWS_MAX: usize = 6;

/// The two answers to one step; a broken connection or a missed deadline stands as its text.
pub type Outcome = Result<Answer, String>;

/// `None` when the answers are the same; otherwise a report of a few lines.
/// Rows are compared in order when `ordered`, else as multisets.
pub fn difference(theirs: &Outcome, ours: &Outcome, ordered: bool) -> Option<String> {
    let (theirs, ours) = match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        (theirs, ours) => return Some(format!("    PostgreSQL: {}\n    Meridian:   {}\n", brief(theirs), brief(ours))),
    };
    let mut report = String::new();
    let mut line = |what: &str, theirs: String, ours: String| {
        report.push_str(&format!("    {what}\n      PostgreSQL: {theirs}\n      Meridian:   {ours}\n"));
    };
    if theirs.error != ours.error {
        line("error", shown_error(theirs), shown_error(ours));
    }
    if theirs.error.is_none() && ours.error.is_none() {
        if theirs.columns != ours.columns {
            line("columns", shown_columns(theirs), shown_columns(ours));
        }
        if theirs.tags != ours.tags {
            line("tag", theirs.tags.join(", "), ours.tags.join(", "));
        }
        if theirs.parameters != ours.parameters {
            line("parameter types", format!("{:?}", theirs.parameters), format!("{:?}", ours.parameters));
        }
        if sorted(theirs, ordered) != sorted(ours, ordered) {
            line("rows", shown_rows(theirs, ordered), shown_rows(ours, ordered));
        }
    }
    if theirs.state != ours.state {
        line("transaction state", char::from(theirs.state).to_string(), char::from(ours.state).to_string());
    }
    (!report.is_empty()).then_some(report)
}

fn sorted(answer: &Answer, ordered: bool) -> Vec<Vec<Option<String>>> {
    let mut rows = answer.rows.clone();
    if !ordered {
        rows.sort();
    }
    rows
}

fn brief(outcome: &Outcome) -> String {
    match outcome {
        Ok(answer) => format!("{} {}", shown_error(answer), answer.tags.join(", ")),
        Err(text) => format!("no answer: {text}"),
    }
}

fn shown_error(answer: &Answer) -> String {
    match &answer.error {
        None => match answer.rows.first() {
            Some(row) => format!("no error; first row {}", shown_row(row)),
            None => "no error".into(),
        },
        Some(error) => format!("{} {}", error.sqlstate, error.message),
    }
}

fn shown_columns(answer: &Answer) -> String {
    answer.columns.iter().map(|column| format!("{} {}", column.name, column.type_oid)).collect::<Vec<_>>().join(", ")
}

fn shown_rows(answer: &Answer, ordered: bool) -> String {
    let rows = sorted(answer, ordered);
    let mut shown: Vec<_> = rows.iter().take(SHOWN_ROWS_MAX).map(|row| shown_row(row)).collect();
    if rows.len() > SHOWN_ROWS_MAX {
        shown.push(format!("… {} rows", rows.len()));
    }
    shown.join(" ")
}

fn shown_row(row: &[Option<String>]) -> String {
    let values: Vec<_> = row.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
    format!("({})", values.join(" | "))
}
