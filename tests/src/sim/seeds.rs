//! Seeds that once showed a bug, with what it was. They run in CI before all others.

/// Seed, number of nodes (`None`: as the seed says), and what it showed.
pub const REGRESSIONS: &[(u64, Option<usize>, &str)] = &[
    (7039, None, "quiet followers stayed bound for ever to a leader that had stepped down after a failed move, and let nobody be elected"),
    (10, None, "a learner whose snapshot broke off heard of no leader for a minute, because it still waited for the rest"),
    (11, None, "many ticks of the hybrid clock within one instant made a peer without clock error refuse messages"),
    (190, None, "the comparison of replicas waited for a learner that had got the entry inside its snapshot"),
    (332, None, "a replica that lost its state to a snapshot that broke off could not be loaded over its old log"),
];
