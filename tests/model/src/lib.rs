//! The commit protocol as a model that is explored exhaustively: every interleaving of a few transactions, a lease change, a crash.
//!
//! ```text
//!   scenario   what runs: programs, ranges, clocks, how many crashes, lease changes, replays     rules      what can be taken out
//!   state      one state of the world                                                        step       the protocol, one atomic step at a time
//!   invariants what must hold in every state, under the names that the code uses: T1–T3, L1, L2, C1–C8, C10, strict serializability
//! ```
//! **What is modelled.** True time is a number of ticks; each node's clock differs from it by an offset of at most ε, and `now()` is `[reading - ε, reading + ε]`.
//! A transaction starts at `L = now().latest`, reads its snapshot, locks what it writes (and what it only locks), reads the newest version there, and
//! commits in one phase if one range holds all its writes, otherwise by intents and a staging record in parallel. Every request to a leaseholder is one
//! step; when it arrives is free, also after its coordinator has died, and if the scenario says so it may arrive again later. Whoever is in the way is
//! pushed or recovered, in steps of their own. A leaseholder may be cut off; then another is elected when the promises allow it, with its low-water mark and
//! without the locks, while the old one goes on answering reads below the end of its lease. A planned move hands the timestamp cache over.
//!
//! **What is not.** Restarts (a transaction that fails is over), validation by value, spans (a key stands for a span), and liveness (C9). The random exploration
//! of `../shared/model` covers the first two; histories and the simulator cover the code itself.
//!
//! **Ghosts.** Some invariants speak of the past (a read was served at this timestamp; a pusher was promised that). The state carries that beside what
//! the protocol knows; no step looks at it.

pub mod invariants;
pub mod scenario;
pub mod state;
pub mod step;

pub use invariants::INVARIANTS;
pub use scenario::{Op, Program, Rule, Scenario};

use stateright::{Model, Property};

use state::State;
use step::Action;

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.clocks.iter().map(|offsets| State::new(self, *offsets)).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        step::enabled(self, state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        step::take(self, state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // One property for all, so that the search ends with the first violation of whichever; `invariants::broken` says which it is.
        vec![Property::always("every invariant holds", |scenario: &Scenario, state: &State| invariants::broken(scenario, state).is_none())]
    }
}
