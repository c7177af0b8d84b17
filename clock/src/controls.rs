//! Control switches: each takes one mechanism of the protocol out, so that tests can show that its absence is noticed.
//!
//! A checker that finds nothing proves something only if it would have found something. So for every rule there is a switch, and a test that
//! runs with the rule switched off and demands an anomaly (`docs/verification.md` has the table: mechanism, workload, seeds needed).
//!
//! Switches are per thread (a simulated cluster lives on one) and exist in debug builds only: in a release build [`off`] is the constant
//! `false`, there is nothing that could set one, and the branches that ask vanish.

/// A mechanism that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Control {
    /// T1, C1: a transaction reads at `now().latest` of its start. Off: at `now().earliest`.
    StartAtLatest,
    /// T2: a read waits for intents at or below its timestamp. Off: it looks past them.
    ReadIntents,
    /// T3: no answer before its timestamps have passed. Off: at once.
    ReplyRule,
    /// C2: reads raise the timestamp cache. Off: they do not.
    TimestampCache,
    /// C3: every read that is not written is valid at the commit timestamp. Off: nobody looks.
    Validation,
    /// C3, of what was read under a lock and not written. Off: the lock is trusted.
    LockValidation,
    /// C4: a landing checks that the newest version is the one read. Off: it does not.
    NewestVersion,
    /// C5: the COMMITTED record is durable before intents are resolved. Off: it comes last.
    RecordFirst,
    /// C6: recovery decides the very staging that it asked about. Off: whatever stands there.
    RecoveryCas,
    /// C6: what recovery did not find never lands later. Off: it may.
    Prevention,
    /// C7: a push writes `min_ts` into the record. Off: the reader just goes on.
    PushRecord,
    /// C8: a replayed landing recognises its own work. Off: it does not.
    Replay,
    /// C10: the reply waits for every version looked at. Off: only for what was written.
    SeenVersions,
    /// L1: a leader serves only below its voters' promises. Off: for as long as it believes to lead.
    LeasePromise,
    /// L1: a promise forbids to vote and to campaign. Off: it does not, and neither does Raft's own stickiness.
    VotePromise,
    /// L2: a new lease starts with its low-water mark under the timestamp cache. Off: with nothing.
    LowWater,
    /// L3: a planned move hands the timestamp cache over. Off: it arrives empty.
    HandOver,
    /// The log writer acknowledges after a sync. Off: before.
    LogSync,
    /// Nothing is written at or below a closed timestamp. Off: it is.
    ClosedTimestamp,
    /// A split leaves the right half bound to the promises of the left. Off: it is born free.
    SplitBinding,
    /// Checksums of versions are verified when read. Off: they are not.
    Checksums,
    /// Collection spares what open transactions read. Off: it looks at the TTL alone.
    Protection,
}

impl Control {
    /// All of them.
    pub const ALL: [Control; 22] = [
        Control::StartAtLatest,
        Control::ReadIntents,
        Control::ReplyRule,
        Control::TimestampCache,
        Control::Validation,
        Control::LockValidation,
        Control::NewestVersion,
        Control::RecordFirst,
        Control::RecoveryCas,
        Control::Prevention,
        Control::PushRecord,
        Control::Replay,
        Control::SeenVersions,
        Control::LeasePromise,
        Control::VotePromise,
        Control::LowWater,
        Control::HandOver,
        Control::LogSync,
        Control::ClosedTimestamp,
        Control::SplitBinding,
        Control::Checksums,
        Control::Protection,
    ];

    /// The control named so (as `Debug` prints it, in any case).
    pub fn named(name: &str) -> Option<Control> {
        Control::ALL.into_iter().find(|control| format!("{control:?}").eq_ignore_ascii_case(name))
    }
}

#[cfg(debug_assertions)]
mod switches {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Control;

    thread_local! {
        static OFF: Cell<u32> = const { Cell::new(0) };
    }

    /// Whether a mechanism is switched off on this thread.
    #[inline]
    pub fn off(control: Control) -> bool {
        OFF.get() & (1 << control as u8) != 0
    }

    /// Switches mechanisms off on this thread until the guard is dropped.
    pub fn switch_off(controls: &[Control]) -> SwitchedOff {
        let before = OFF.get();
        OFF.set(controls.iter().fold(before, |off, control| off | 1 << *control as u8));
        SwitchedOff { before, _thread: PhantomData }
    }

    /// Switches everything on again as it was when dropped. Bound to its thread.
    #[derive(Debug)]
    pub struct SwitchedOff {
        before: u32,
        _thread: PhantomData<*const ()>,
    }

    impl Drop for SwitchedOff {
        fn drop(&mut self) {
            OFF.set(self.before);
        }
    }
}

#[cfg(debug_assertions)]
pub use switches::{SwitchedOff, off, switch_off};

/// Whether a mechanism is switched off: never, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn off(_: Control) -> bool {
    false
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_bound_to_its_thread_and_its_guard() {
        let guard = switch_off(&[Control::ReplyRule, Control::Checksums]);
        assert!(off(Control::ReplyRule) && off(Control::Checksums) && !off(Control::Validation));
        assert!(std::thread::spawn(|| !off(Control::ReplyRule)).join().unwrap());
        drop(guard);
        assert!(Control::ALL.into_iter().all(|control| !off(control)));
    }

    #[test]
    fn every_control_has_a_name() {
        assert!(Control::ALL.into_iter().all(|control| Control::named(&format!("{control:?}").to_lowercase()) == Some(control)));
    }
}
