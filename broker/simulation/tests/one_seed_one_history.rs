//! A seed reproduces: two runs of it are the same to the last message.

#[test]
fn a_seed_has_one_history() {
    for seed in 0..25 {
        let (first, second) = (ottla_simulation::run(seed, false), ottla_simulation::run(seed, true));
        assert_eq!((first.hash, first.ended_at), (second.hash, second.ended_at), "seed {seed}");
    }
    let hashes: std::collections::BTreeSet<u64> = (0..25).map(|seed| ottla_simulation::run(seed, false).hash).collect();
    assert_eq!(hashes.len(), 25, "and no other");
}
