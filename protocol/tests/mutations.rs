//! The fuzz targets over mutated fixtures: bytes flipped, cut, repeated and put together anew, from a seed.
//!
//! `OTTLA_MUTATIONS` sets how many inputs each target gets, `OTTLA_SEED` which.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// How many inputs, and from which seed, is said to the test from outside.
#![allow(clippy::disallowed_methods)]

#[path = "../fuzz/mutate.rs"]
mod mutate;
#[path = "../fuzz/targets.rs"]
mod targets;

use mutate::run;

const MUTATIONS_DEFAULT: u64 = 60_000;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
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
    run(&batches(), targets::record_batch, MUTATIONS_DEFAULT);
}

#[test]
fn no_frame_brings_the_decoder_down() {
    let frames = frames();
    assert!(frames.len() > 100, "{}", frames.len());
    run(&frames, targets::request, MUTATIONS_DEFAULT);
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
    run(&seeds, targets::records, MUTATIONS_DEFAULT);
}
