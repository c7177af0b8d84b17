//! The differential test's machinery: the same statements to PostgreSQL 15 and to Meridian, and the answers side by side.
//!
//! ```text
//!   tests/differential/*.sql ──▶ corpus ──▶ client ──▶ PostgreSQL 15 ─┐
//!                                    └────▶ client ──▶ Meridian ──────┴──▶ compare ──▶ listed differences
//! ```
//!
//! * `corpus` cuts the files into statements and reads the few directives that stand in comments.
//! * `client` is a wire client small enough to hide nothing: it keeps command tags, type OIDs and error fields, which drivers drop.
//! * `servers` starts the two private servers and stops them when the test ends, however it ends.
//! * `compare` says whether two answers are the same, and how they differ if not.

pub mod client;
pub mod compare;
pub mod corpus;
pub mod servers;
