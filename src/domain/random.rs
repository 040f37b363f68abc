//! Randomness as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clock::Timestamp;

/// The source of random values. Clones share one source.
#[derive(Debug, Clone)]
pub struct Random(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Seeded(u64, Arc<AtomicU64>),
}

impl Random {
    /// Returns the operating system's generator, the only source fit for secrets.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Returns a sequence that repeats for the same seed, for tests only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(seed, Arc::new(AtomicU64::new(0))))
    }

    /// Returns random bytes.
    ///
    /// # Panics
    /// If the operating system provides no randomness: no secret could be generated then.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        match &self.0 {
            Source::System => getrandom::fill(&mut out).expect("the operating system gives random bytes"),
            Source::Seeded(seed, drawn) => {
                for chunk in out.chunks_mut(32) {
                    let block = Sha256::new()
                        .chain_update(seed.to_le_bytes())
                        .chain_update(drawn.fetch_add(1, Ordering::SeqCst).to_le_bytes())
                        .finalize();
                    chunk.copy_from_slice(&block[..chunk.len()]);
                }
            }
        }
        out
    }

    /// Returns a number in `0.0..1.0`, evenly distributed.
    pub fn unit(&self) -> f64 {
        let bits = u64::from_le_bytes(self.bytes()) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }

    /// Returns a random UUID (version 4).
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// Returns a UUID that begins with a time (version 7).
    pub fn uuid_at(&self, now: Timestamp) -> Uuid {
        let ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(ms, &self.bytes()).into_uuid()
    }
}
