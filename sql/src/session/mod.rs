//! One client's session: what `server` talks to.
//!
//! The wire loop turns frontend messages into calls of [`api::Session`]'s methods and gives each a [`api::ResultSink`] to write to.

pub mod api;
