//! Random and mutated frames against a live broker, for every API and version it advertises and some it does not.
//!
//! What must hold: the process lives and nothing in it panics; other connections are served meanwhile; resident memory
//! grows by no more than twice the bytes it was sent, at any moment, and however many those are by no more than a fixed amount. `OTTLA_FUZZ_FRAMES` sets the number of frames per API and version
//! (10,000 for the full run), `OTTLA_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod frames;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use frames::Frames;
use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::requests;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::wire::Wire;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const FRAMES_DEFAULT: u64 = 250;
/// Frames that a broker parks or drops are waited for: more workers than cores.
const WORKERS: usize = 8;
/// What a broker may hold beyond what it was sent: caches, pools, and topics that a lucky frame created.
const SLACK_BYTES: u64 = 64 << 20;
/// What it may hold in all, however long the attack goes on: nothing of a frame stays behind.
const GROWTH_BYTES_MAX: u64 = 128 << 20;
/// A valid frame may take the broker itself down, as asked: that is no failure.
const LEFT_OUT: &[i16] = &[
    64, // UnregisterBroker
];

#[test]
fn no_frame_harms_the_broker() {
    let target = *targets().last().expect("a target");
    if target != Target::Ottla {
        return;
    }
    let story = "random and mutated frames";
    results::record("Robustness", story, target, Outcome::Failed);
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let frames_per_version = number("OTTLA_FUZZ_FRAMES").unwrap_or(FRAMES_DEFAULT);
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");

    let mut broker = Broker::start(target, &["auto.create.topics.enable=false"]).unwrap();
    let address = broker.address();
    let versions: Vec<(i16, i16)> =
        advertised(address).into_iter().filter(|(key, _)| !LEFT_OUT.contains(key)).collect();
    assert!(versions.len() > 20, "{versions:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let witness = thread::spawn({
        let stop = Arc::clone(&stop);
        move || serve_others(address, &stop)
    });
    let before = broker.resident_bytes();
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let scales = thread::spawn({
        let (pid, sent, over) = (broker.pid(), Arc::clone(&sent), Arc::clone(&over));
        move || weigh(pid, before, &sent, &over)
    });
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let mine: Vec<(i16, i16)> = versions.iter().copied().skip(worker).step_by(WORKERS).collect();
            let sent = Arc::clone(&sent);
            thread::spawn(move || {
                let mut random = StdRng::seed_from_u64(seed + worker as u64);
                for (key, version) in mine {
                    attack(address, &Frames::new(key, version), frames_per_version, &mut random, &sent)
                        .unwrap_or_else(|error| panic!("api {key} version {version}: {error}"));
                }
            })
        })
        .collect();
    let results: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
    let attacked = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let peak = scales.join().expect("the memory is weighed");
    stop.store(true, Ordering::Relaxed);
    let served = witness.join().expect("the witness ends");
    let after = broker.resident_bytes();
    let sent = sent.load(Ordering::Relaxed);
    println!(
        "{} versions, {frames_per_version} frames each, {sent} bytes sent in {attacked:?}, {served} other requests, resident \
         {before} -> {after}, at most {peak}",
        versions.len()
    );

    assert!(broker.is_running(), "the broker is gone (seed {seed}):\n{}", broker.log());
    let log = broker.log();
    assert!(
        !log.contains("panicked at"),
        "a panic (seed {seed}):\n{}",
        log.lines().filter(|l| l.contains("panicked")).collect::<Vec<_>>().join("\n")
    );
    results.into_iter().for_each(|result| result.expect("a worker ends"));
    served.checked_sub(10).expect("other connections are served");
    assert!(
        peak.max(after).saturating_sub(before) <= GROWTH_BYTES_MAX,
        "resident memory {before} -> {peak} -> {after}, sent {sent} (seed {seed})"
    );
    assert_eq!(broker.stop(), Some(0), "a clean end after all");
    results::record("Robustness", story, target, Outcome::Passed);
}

/// Every API and version that the broker lists, and one version too high of each.
fn advertised(address: SocketAddr) -> Vec<(i16, i16)> {
    let ranges = requests::advertised(address).unwrap();
    ranges.iter().flat_map(|range| (range.min..=range.max + 1).map(|version| (range.key, version))).collect()
}

/// Sends frames one after the other, on a new connection whenever the broker closes or keeps the old one waiting.
fn attack(address: SocketAddr, frames: &Frames, count: u64, random: &mut StdRng, sent: &AtomicU64) -> io::Result<()> {
    let mut open: Option<Wire> = None;
    for _ in 0..count {
        let bytes = frames.next(random);
        let mut wire = match open.take() {
            Some(wire) => wire,
            None => Wire::connect(address, Duration::from_millis(4))?,
        };
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Whether it is answered, refused or parked is the broker's affair; an answer keeps the connection.
        if wire.send_bytes(&bytes).is_ok() && wire.receive().is_ok() && random.random_ratio(9, 10) {
            open = Some(wire);
        }
    }
    Ok(())
}

/// Looks at the broker's memory until the attack is over; the most it ever had.
fn weigh(pid: u32, before: u64, sent: &AtomicU64, over: &AtomicBool) -> u64 {
    let mut peak = before;
    while !over.load(Ordering::Relaxed) {
        let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
        let (resident, sent) = (pages * 4096, sent.load(Ordering::Relaxed));
        assert!(resident.saturating_sub(before) <= 2 * sent + SLACK_BYTES, "resident {resident} after {sent} bytes");
        peak = peak.max(resident);
        thread::sleep(Duration::from_millis(50));
    }
    peak
}

/// An honest client beside the attack: every request is answered in time. Returns how many were.
fn serve_others(address: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut wire = Wire::connect(address, Duration::from_secs(20)).unwrap();
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        for request in
            [&[0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff][..], &[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0][..]]
        {
            wire.send_raw(request).expect("an honest connection stays open");
            let answer = wire.receive().expect("an honest request is answered within 20 s");
            assert_eq!(answer[..4], [0, 0, 0, 1], "the correlation id");
            served += 1;
        }
        thread::sleep(Duration::from_millis(20));
    }
    served
}
