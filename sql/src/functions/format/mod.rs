//! `to_char`, `to_number`, `to_date`, `to_timestamp`: PostgreSQL's template languages. [`number`] has the numeric one, [`date`]
//! the one for dates, [`input`] reads dates by template.

mod date;
mod input;
mod number;

pub(super) const TOPICS: &[&[super::args::Entry]] = &[number::ENTRIES, date::ENTRIES, input::ENTRIES];
