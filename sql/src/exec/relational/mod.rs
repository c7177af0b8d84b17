//! The operators between scans and the client.

pub mod aggregate;
pub mod basic;
pub mod cte;
pub mod distinct;
pub mod group;
pub mod hash_join;
pub mod limit;
pub mod lock_rows;
pub mod lookup_join;
pub mod merge_join;
pub mod nested_loop;
pub mod partition;
pub mod set_op;
pub mod sets;
pub mod sort;
pub mod window;
pub mod window_frame;
