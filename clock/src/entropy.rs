//! Randomness as a seam: one seed handed down, one independent stream per purpose.

use rand::SeedableRng;

/// The generator that everything above uses. Its stream is fixed by its seed on every platform.
pub type Rng = rand_chacha::ChaCha12Rng;

/// A source of seeds. Forks by name are independent of each other and of the order in which they are made.
#[derive(Clone, Debug)]
pub struct Entropy {
    seed: u64,
}

impl Entropy {
    /// Seeded by the operating system: what a real node uses.
    pub fn from_os() -> Self {
        Entropy { seed: rand::random() }
    }

    /// Seeded by the caller: what the simulator uses.
    pub fn seeded(seed: u64) -> Self {
        Entropy { seed }
    }

    /// An independent source for `purpose`.
    pub fn fork(&self, purpose: &str) -> Self {
        // FNV-1a: stable over versions and platforms, which the std hasher does not promise.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed;
        for byte in purpose.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Entropy { seed: hash ^ (hash >> 29) }
    }

    /// A generator at the start of this source's stream.
    pub fn rng(&self) -> Rng {
        Rng::seed_from_u64(self.seed)
    }
}
