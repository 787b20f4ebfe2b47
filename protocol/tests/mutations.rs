//! The fuzz targets over mutated fixtures: bytes flipped, cut, repeated and put together anew, from a seed.
//!
//! `OTTLA_MUTATIONS` sets how many inputs each target gets, `OTTLA_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// How many inputs, and from which seed, is said to the test from outside.
#![allow(clippy::disallowed_methods)]

#[path = "../fuzz/targets.rs"]
mod targets;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const MUTATIONS_DEFAULT: u64 = 60_000;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

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

fn run(seeds: &[Vec<u8>], target: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let count = number("OTTLA_MUTATIONS").unwrap_or(MUTATIONS_DEFAULT);
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    assert!(!seeds.is_empty());
    let mut random = StdRng::seed_from_u64(seed);
    for input in seeds {
        target(input);
    }
    for _ in 0..count {
        let input = mutated(&seeds[random.random_range(0..seeds.len())], seeds, &mut random);
        target(&input);
    }
}

fn batches() -> Vec<Vec<u8>> {
    include_str!("data/kafka_batches.txt").lines().filter_map(|line| line.rsplit(' ').next()).map(hex).collect()
}

/// Frames of every request among the bodies that Kafka's own classes wrote.
fn frames() -> Vec<Vec<u8>> {
    let bodies = include_str!("data/kafka_bodies.txt").lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (direction, key, version, body) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (key, version): (i16, i16) = (key.parse().ok()?, version.parse().ok()?);
        if !direction.starts_with("req") {
            return None;
        }
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 7, 0xff, 0xff]);
        if ottla_protocol::request::header_version(key, version)? == 2 {
            frame.push(0);
        }
        frame.extend(hex(body));
        let length = u32::try_from(frame.len() - 4).ok()?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Some(frame)
    });
    bodies.collect()
}

#[test]
fn no_batch_brings_the_reader_down() {
    run(&batches(), targets::record_batch);
}

#[test]
fn no_frame_brings_the_decoder_down() {
    let frames = frames();
    assert!(frames.len() > 100, "{}", frames.len());
    run(&frames, targets::request);
}

#[test]
fn no_record_of_an_internal_topic_brings_a_coordinator_down() {
    // A byte says where the key ends; versions 0 to 3 of the key, and what a value of each kind begins with.
    let seeds: Vec<Vec<u8>> = (0..64_u8)
        .map(|version| {
            let mut bytes = vec![12, 0, version % 22];
            bytes.extend_from_slice(&[0, 1, b'g', 0, 1, b't', 0, 0, 0, 1, 0, version / 22]);
            bytes.extend_from_slice(&[0; 40]);
            bytes
        })
        .collect();
    run(&seeds, targets::records);
}
