//! PostgreSQL's wire protocol, version 3.
//!
//! ```text
//!   listener      accepts, limits connections, drains on shutdown, keeps the cancel registry
//!   startup       TLS, startup packet, SCRAM-SHA-256
//!   connection    one client's message loop: simple and extended protocol, pipelining
//!   frontend      bodies of client messages, decoded strictly: what is malformed is `08P01`, never a panic
//!   backend       server messages, by pgwire's codecs; rows written straight into the output buffer
//!   io            framing: cuts messages out of the socket by their own lengths, within limits; buffered output
//!   socket        plain or TLS; answers held back while a client that pipelines has its next message here
//!   sink          where a statement's results go
//! ```
//! Output is flushed once per Sync, Flush or simple query, and whenever the buffer exceeds [`io::FLUSH_BYTES`].

pub mod backend;
pub mod connection;
pub mod frontend;
pub mod io;
pub mod listener;
pub mod sink;
pub mod socket;
pub mod startup;
