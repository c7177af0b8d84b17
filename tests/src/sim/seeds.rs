//! Seeds that once showed a bug, with what it was. They run in CI before all others.

use super::plan::{Fault, Overrides};

/// A seed, what it ran with, and what it showed.
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// What it ran with.
    pub overrides: Overrides,
    /// What it showed.
    pub showed: &'static str,
}

/// All of them.
pub fn regressions() -> Vec<Regression> {
    let first = |seed, showed| Regression { seed, overrides: Overrides { narrow: true, ..Overrides::default() }, showed };
    let slow = |seed, showed| Regression {
        seed,
        overrides: Overrides { clients: Some(1), millis: Some(12_000), keys: Some(8), slow: Some(0.4), ..Overrides::default() },
        showed,
    };
    let mut all = vec![
        first(
            7039,
            "quiet followers stayed bound for ever to a leader that had stepped down after a failed move, and let nobody be elected",
        ),
        first(10, "a learner whose snapshot broke off heard of no leader for a minute, because it still waited for the rest"),
        first(11, "many ticks of the hybrid clock within one instant made a peer without clock error refuse messages"),
        first(190, "the comparison of replicas waited for a learner that had got the entry inside its snapshot"),
        first(332, "a replica that lost its state to a snapshot that broke off could not be loaded over its old log"),
        Regression {
            seed: 88,
            overrides: Overrides { strikes: Some(vec![1]), clients: Some(1), millis: Some(1663), ..Overrides::default() },
            showed: "a node that crashed between a split and the flush of its state forgot the entries that the right half had acknowledged",
        },
        Regression {
            seed: 92020,
            overrides: Overrides { clients: Some(1), millis: Some(2564), ..Overrides::default() },
            showed: "a learner that had everything was waited for because Raft, with nothing to send, went on probing it",
        },
        slow(214, "a replica with a damaged block passed the damage on in a snapshot, checksum and all"),
        Regression {
            seed: 103_491,
            overrides: Overrides { strikes: Some(vec![1, 2, 3, 4, 7]), clients: Some(1), ..Overrides::default() },
            showed: "a commit whose first round had gone through unheard was reported as failed because a later round met a full disk (C8)",
        },
        Regression {
            seed: 101_760,
            overrides: Overrides { strikes: Some(vec![3, 6, 9]), clients: Some(1), millis: Some(2132), ..Overrides::default() },
            showed: "a node whose clock had jumped back since its election began its lease below what the earlier one had served (L2)",
        },
        Regression {
            seed: 8456,
            overrides: Overrides::default(),
            showed: "a copy of a commit that a stalled stream had kept for longer than versions are kept landed again: what it had written was collected (C8)",
        },
        Regression {
            seed: 13_807,
            overrides: Overrides::default(),
            showed: "a commit whose answer was lost, and whose version was collected before it was asked for again, was reported as a conflict (C8)",
        },
        Regression {
            seed: 60,
            overrides: Overrides { clock_error: Some(300), ..Overrides::default() },
            showed: "the end of a lease came nearer when a voter left, and its leader stepped down and held still for that end only (L2)",
        },
        Regression {
            seed: 300_307,
            overrides: Overrides { strikes: Some(vec![1, 2, 4, 5]), clients: Some(2), ..Overrides::default() },
            showed: "a lease that stayed after a failed move was never valid again: it counted promises of epochs that had changed meanwhile",
        },
        slow(220, "a leader that heard of a later term campaigned again before its own lease, just lost, had ended (L2)"),
    ];
    // They ran before versions were collected in the simulator, and before there were aimed faults.
    all.iter_mut().for_each(|regression| (regression.overrides.ttl, regression.overrides.early) = (Some(0), true));
    all.push(Regression {
        seed: 1018,
        overrides: Overrides {
            faults: Some(vec![Fault::Isolate, Fault::Split, Fault::IsolateLeader]),
            strikes: Some(vec![3]),
            slow: Some(0.2),
            ttl: Some(1000),
            ..Overrides::default()
        },
        showed: "a commit at a timestamp older than the TTL was valid because what spoke against its reads had been collected (C3)",
    });
    // The lists of faults are those that the seeds drew then: strikes count along them.
    all.push(Regression {
        seed: 836,
        overrides: Overrides {
            faults: Some(vec![
                Fault::CrashAll,
                Fault::OneWay,
                Fault::Flap,
                Fault::Slow,
                Fault::DiskStall,
                Fault::MajorityRing,
                Fault::Reorder,
                Fault::Lie,
                Fault::CrashCommitting,
                Fault::PauseCommitting,
                Fault::StreamStall,
                Fault::CrashResolving,
            ]),
            strikes: Some(vec![18, 24, 26]),
            clients: Some(1),
            ..Overrides::default()
        },
        showed: "a leader voted when its lease had ended by what it counted then: less than it had served under, since a follower's process was a new one (L2)",
    });
    all.push(Regression {
        seed: 20_537,
        overrides: Overrides {
            faults: Some(vec![
                Fault::Crash,
                Fault::Pause,
                Fault::Replay,
                Fault::DiskStall,
                Fault::Split,
                Fault::MajorityRing,
                Fault::Jump,
                Fault::Freeze,
                Fault::Lie,
                Fault::CrashCommitting,
                Fault::LeaseStorm,
                Fault::PauseCommitting,
                Fault::StreamStall,
                Fault::HeldCommit,
            ]),
            strikes: Some(vec![4, 5, 6]),
            millis: Some(3279),
            slow: Some(0.0),
            ..Overrides::default()
        },
        showed: "a snapshot of a split's right half came in while that half was being flushed, and both became its state: replicas differed",
    });
    all
}
