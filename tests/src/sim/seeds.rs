//! Seeds that once showed a bug, with what it was. They run in CI before all others.

/// Seed, number of nodes (`None`: as the seed says), and what it showed.
pub const REGRESSIONS: &[(u64, Option<usize>, &str)] = &[];
