//! The last offset of every key, in bounded memory: of a key only 128 bits of a keyed hash are kept.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use ottla_protocol::Offset;

/// What an entry takes, room for growth included.
const ENTRY_BYTES: usize = 56;

/// Key to last offset.
#[derive(Debug)]
pub struct OffsetMap {
    /// Two independently keyed hashes: nobody who does not know the seeds can find two keys that collide in both.
    seeds: [RandomState; 2],
    offsets: HashMap<u128, Offset, BuildHasherDefault<Folded>>,
    keys_max: usize,
    end: Offset,
}

impl OffsetMap {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            seeds: [RandomState::new(), RandomState::new()],
            offsets: HashMap::default(),
            keys_max: (bytes_max / ENTRY_BYTES).max(1),
            end: Offset::ZERO,
        }
    }

    /// False, and nothing remembered, when a new key has no room any more.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        if self.offsets.len() >= self.keys_max && !self.offsets.contains_key(&hash) {
            return false;
        }
        self.offsets.insert(hash, offset);
        true
    }

    /// The last known offset of a key.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        self.offsets.get(&self.hash(key)).copied()
    }

    /// All keys before `end` are known.
    pub fn reach(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Nothing is known of records from here on.
    pub const fn end(&self) -> Offset {
        self.end
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    fn hash(&self, key: &[u8]) -> u128 {
        let [first, second] = &self.seeds;
        (u128::from(first.hash_one(key)) << 64) | u128::from(second.hash_one(key))
    }
}

/// The key is a hash already.
#[derive(Debug, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }
}
