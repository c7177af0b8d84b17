//! Which key next: uniform, zipfian or latest, as YCSB has them (Gray et al., "Quickly generating billion-record synthetic databases").

use clap::ValueEnum;
use rand::Rng;

/// YCSB's constant: the most popular tenth of a thousand keys gets two thirds of what is asked for.
const THETA: f64 = 0.99;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// Few are asked for very often; which ones is scattered over the key space.
    Zipfian,
    /// As zipfian, and the newest are the popular ones.
    Latest,
}

/// Ranks `0..n`, of which rank `r` comes in proportion to `1 / (r + 1)^0.99`. Grows with `n` at the cost of what is new.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: u64,
    /// `sum(1 / i^THETA)` for `i` in `1..=n`.
    zeta: f64,
}

impl Zipf {
    /// Over `n` ranks; at least one.
    pub fn new(n: u64) -> Self {
        let mut zipf = Zipf { n: 0, zeta: 0.0 };
        zipf.grow(n.max(1));
        zipf
    }

    /// Over `n` ranks from now on, if that is more than before.
    pub fn grow(&mut self, n: u64) {
        for i in self.n + 1..=n {
            self.zeta += (i as f64).powf(-THETA);
        }
        self.n = self.n.max(n);
    }

    /// The next rank.
    pub fn next(&self, rng: &mut impl Rng) -> u64 {
        let zeta2 = 1.0 + 0.5f64.powf(THETA);
        let alpha = 1.0 / (1.0 - THETA);
        let uniform: f64 = rng.random_range(0.0..1.0);
        let z = uniform * self.zeta;
        if z < 1.0 || self.n < 2 {
            return 0;
        }
        if z < zeta2 {
            return 1;
        }
        let eta = (1.0 - (2.0 / self.n as f64).powf(1.0 - THETA)) / (1.0 - zeta2 / self.zeta);
        let rank = (self.n as f64 * (eta * uniform - eta + 1.0).powf(alpha)) as u64;
        rank.min(self.n - 1)
    }
}

/// Scatters ranks over the key space (FNV-1a, 64 bits, as YCSB does).
pub fn scatter(rank: u64) -> u64 {
    rank.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Chooses keys of `0..n`.
#[derive(Clone, Debug)]
pub struct Chooser {
    distribution: Distribution,
    zipf: Zipf,
}

impl Chooser {
    /// Of `n` keys; at least one.
    pub fn new(distribution: Distribution, n: u64) -> Self {
        // Uniform keys need no sum over all of them.
        let ranked = if distribution == Distribution::Uniform { 1 } else { n };
        Chooser { distribution, zipf: Zipf::new(ranked) }
    }

    /// A key of `0..n`; `n` may grow from call to call.
    pub fn next(&mut self, rng: &mut impl Rng, n: u64) -> u64 {
        let n = n.max(1);
        match self.distribution {
            Distribution::Uniform => rng.random_range(0..n),
            Distribution::Zipfian => scatter(self.zipf.next(rng)) % n,
            Distribution::Latest => {
                self.zipf.grow(n);
                n - 1 - self.zipf.next(rng).min(n - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DRAWS: usize = 200_000;

    /// How often each of `n` keys came.
    fn counts(distribution: Distribution, n: u64) -> Vec<usize> {
        let (mut chooser, mut rng) = (Chooser::new(distribution, n), ChaCha8Rng::seed_from_u64(7));
        let mut counts = vec![0; n as usize];
        for _ in 0..DRAWS {
            counts[chooser.next(&mut rng, n) as usize] += 1;
        }
        counts
    }

    #[test]
    fn ranks_come_as_often_as_zipfs_law_says() {
        let (zipf, mut rng) = (Zipf::new(1000), ChaCha8Rng::seed_from_u64(1));
        let mut counts = [0usize; 1000];
        for _ in 0..DRAWS {
            counts[zipf.next(&mut rng) as usize] += 1;
        }
        let sum: f64 = (1..=1000).map(|i| f64::from(i).powf(-THETA)).sum();
        // The first two are exact, the others an approximation: the method's own.
        for (rank, tolerance) in [(0, 0.03), (1, 0.03), (9, 0.35), (99, 0.35)] {
            let expected = DRAWS as f64 * (rank as f64 + 1.0).powf(-THETA) / sum;
            let found = counts[rank] as f64;
            assert!((found / expected - 1.0).abs() < tolerance, "rank {rank}: {found} for {expected}");
        }
        let tenth: usize = counts[..100].iter().sum();
        assert!((0.62..0.74).contains(&(tenth as f64 / DRAWS as f64)), "{tenth}");
    }

    #[test]
    fn a_sum_that_grew_is_the_sum() {
        let mut grown = Zipf::new(10);
        grown.grow(500);
        grown.grow(3);
        let fresh = Zipf::new(500);
        assert!((grown.zeta - fresh.zeta).abs() < 1e-9 && grown.n == fresh.n);
    }

    #[test]
    fn uniform_is_even_zipfian_is_scattered_and_latest_likes_the_new() {
        let uniform = counts(Distribution::Uniform, 100);
        assert!(uniform.iter().all(|c| (1_700..2_300).contains(c)), "{uniform:?}");
        let zipfian = counts(Distribution::Zipfian, 1000);
        let most = zipfian.iter().enumerate().max_by_key(|(_, c)| **c).map(|(key, _)| key);
        assert_eq!(most, Some((scatter(0) % 1000) as usize));
        assert!(zipfian[most.unwrap_or_default()] > DRAWS / 10);
        let latest = counts(Distribution::Latest, 1000);
        assert!(latest[999] > DRAWS / 10 && latest[900..].iter().sum::<usize>() > DRAWS * 6 / 10, "{:?}", &latest[990..]);
        let (mut chooser, mut rng) = (Chooser::new(Distribution::Latest, 10), ChaCha8Rng::seed_from_u64(3));
        let new = (0..1000).filter(|_| chooser.next(&mut rng, 2_000) > 1_900).count();
        assert!(new > 500, "{new} of a thousand were among the newest hundred after the keys grew");
    }
}
