//! Under overload brokers are slow and controllers come and go; nobody who lives is taken for dead.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[test]
fn nobody_is_fenced_for_being_slow() {
    let seeds = std::env::var("OTTLA_SLOW_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    let mut slow = 0;
    for seed in 0..seeds {
        let outcome = ottla_simulation::run_overloaded(seed, false);
        slow += outcome.faults.get("slow node").copied().unwrap_or(0);
        if let Some(violation) = outcome.violation {
            let told = ottla_simulation::run_overloaded(seed, true);
            let telling = ["fences", "**", "leads", "violat"];
            let lines: Vec<&str> =
                told.history.lines().filter(|line| telling.iter().any(|w| line.contains(w))).collect();
            panic!("seed {seed}: {violation}\n{}", lines.join("\n"));
        }
    }
    assert!(slow >= seeds, "nobody was slow: {slow}");
}

#[test]
fn silence_is_noticed() {
    // The same count in worlds with faults: it can be more than zero.
    assert!((0..20).any(|seed| ottla_simulation::run(seed, false).fenced > 0));
}
