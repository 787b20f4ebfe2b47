//! Inputs for the fuzz targets where no fuzzer is at hand: mutations of sound ones, from a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One to eight changes of the kinds that break parsers.
fn mutated(seed: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=8) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            // Lengths and counts at their limits.
            2 if at + 4 <= bytes.len() => {
                let limits = [0_u32, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
                bytes[at..at + 4].copy_from_slice(&limits[random.random_range(0..limits.len())].to_be_bytes());
            }
            3 => bytes.truncate(at),
            4 if at < bytes.len() => {
                let end = random.random_range(at..bytes.len());
                let piece = bytes[at..=end].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            5 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let other = &others[random.random_range(0..others.len())];
                let from = random.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
        bytes.truncate(1 << 16);
    }
    bytes
}

/// The same inputs in every run, unless `OTTLA_SEED` asks for others.
const SEED: u64 = 1;

/// `target` over every one of `seeds` and over `OTTLA_MUTATIONS` or `default` mutations of them.
pub fn run(seeds: &[Vec<u8>], target: fn(&[u8]), default: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let count = number("OTTLA_MUTATIONS").unwrap_or(default);
    let seed = number("OTTLA_SEED").unwrap_or(SEED);
    println!("OTTLA_SEED={seed}");
    assert!(!seeds.is_empty());
    let mut random = StdRng::seed_from_u64(seed);
    for input in seeds {
        told(input, target);
    }
    for _ in 0..count {
        let input = mutated(&seeds[random.random_range(0..seeds.len())], seeds, &mut random);
        told(&input, target);
    }
}

/// Runs a target; an input that it fails with is kept, so that it can be made a test of its own.
fn told(input: &[u8], target: fn(&[u8])) {
    struct Told<'a>(&'a [u8]);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let file = std::env::temp_dir().join(format!("ottla-fuzz-{}", std::process::id()));
                println!("the input is in {}: {:?}", file.display(), std::fs::write(&file, self.0));
            }
        }
    }
    let told = Told(input);
    target(told.0);
}
