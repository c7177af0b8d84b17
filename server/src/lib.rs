//! The node and the binary.
//!
//! ```text
//!   node       the assembly of one node, disk to SQL; the simulator uses it too
//!   serve      one node process: flags, ports, drain
//!   wire       PostgreSQL's protocol
//!   http       health and metrics
//!   tls        certificates
//!   init       founding a cluster
//!   cluster    a multi-region cluster of processes on this machine
//!   shell      `meridian sql`
//! ```

pub mod cluster;
#[cfg(debug_assertions)]
pub mod faults;
pub mod http;
pub mod init;
pub mod node;
pub mod serve;
pub mod shell;
pub mod tls;
pub mod wire;
