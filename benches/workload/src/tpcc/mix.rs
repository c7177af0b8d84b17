//! Which transaction comes next, and how long its user types and thinks (5.2).

use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

/// Cards of a deck by kind: 45 % New-Order is what is left when the others have their minimum (5.2.3, 5.2.4.2).
const DECK: [usize; 5] = [10, 10, 1, 1, 1];
/// Keying time by kind (5.2.5.7).
const KEYING_SECONDS: [u64; 5] = [18, 3, 2, 2, 2];
/// Mean think time by kind.
const THINK_SECONDS: [f64; 5] = [12.0, 12.0, 10.0, 5.0, 5.0];

/// The deck of one terminal.
#[derive(Debug, Default)]
pub struct Deck {
    cards: Vec<usize>,
}

impl Deck {
    /// The next kind.
    pub fn next(&mut self, rng: &mut impl Rng) -> usize {
        loop {
            if let Some(kind) = self.cards.pop() {
                return kind;
            }
            self.cards = DECK.iter().enumerate().flat_map(|(kind, count)| std::iter::repeat_n(kind, *count)).collect();
            self.cards.shuffle(rng);
        }
    }
}

/// How long the user types.
pub fn keying(kind: usize) -> Duration {
    Duration::from_secs(KEYING_SECONDS[kind])
}

/// How long the user thinks: negative exponential, cut at ten times the mean (5.2.5.4).
pub fn think(rng: &mut impl Rng, kind: usize) -> Duration {
    let mean = THINK_SECONDS[kind];
    let uniform: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
    Duration::from_secs_f64((-uniform.ln() * mean).min(10.0 * mean))
}
