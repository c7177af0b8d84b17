//! From AST to plan.
//!
//! ```text
//!   expr           bound, typed expressions
//!   node           physical plan nodes: what the executor runs
//!   bind/          AST + catalog → bound logical tree: names, types, coercions, subqueries, aggregates, DML
//!   optimize/      rewrites (constant folding, filter pushdown, decorrelation, column pruning), index selection, join order and method
//!   explain        the plan as PostgreSQL-like text
//! ```
//! The binder and optimizer produce [`node::Plan`]; the executor takes nothing else.

pub mod expr;
pub mod node;
