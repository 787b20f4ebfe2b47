//! What the suites' own runners say.

use std::collections::BTreeSet;

use ottla_compat_tests::process::Output;
use regex::Regex;

/// What a suite reported: how many tests passed, how many skipped themselves, and which did not pass.
pub struct Report {
    pub passed: usize,
    pub skipped: usize,
    pub failed: BTreeSet<String>,
}

/// `go test -v`, subtests included.
pub fn go(output: &Output) -> Report {
    let lines = || output.stdout.lines().map(str::trim_start);
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut failed: BTreeSet<String> = lines().filter_map(|line| line.strip_prefix("--- FAIL: ")).map(name).collect();
    if output.stdout.contains("\npanic: ") || output.code < 0 {
        failed.insert("the run did not come to its end".to_owned());
    }
    let count = |verdict: &str| lines().filter(|line| line.starts_with(verdict)).count();
    Report { passed: count("--- PASS: "), skipped: count("--- SKIP: "), failed }
}

/// `pytest -rA`.
pub fn pytest(output: &Output) -> Report {
    let lines = |word: &'static str| output.stdout.lines().filter_map(move |line| line.strip_prefix(word));
    let named = |word: &'static str| -> BTreeSet<String> {
        let names = lines(word).filter_map(|line| line.split("::").nth(1));
        names.map(|name| name.split(' ').next().unwrap_or(name).to_owned()).collect()
    };
    Report {
        passed: lines("PASSED ").count(),
        // `SKIPPED [3] file: reason`
        skipped: lines("SKIPPED [").filter_map(|line| line.split(']').next()?.parse::<usize>().ok()).sum(),
        failed: named("FAILED ").union(&named("ERROR ")).cloned().collect(),
    }
}

/// The report of librdkafka's test runner; what tests add to it is not always JSON.
pub fn librdkafka(output: &Output) -> Report {
    let verdict = Regex::new(r#""name": "([^"]+)", "state": "(\w+)""#).unwrap();
    let mut report = Report { passed: 0, skipped: 0, failed: BTreeSet::new() };
    for found in verdict.captures_iter(&output.stdout).filter(|found| &found[1] != "<MAIN>") {
        match &found[2] {
            "PASSED" => report.passed += 1,
            // Did not start: not asked for.
            "SKIPPED" | "DNS" => report.skipped += 1,
            _ => {
                report.failed.insert(found[1].to_owned());
            }
        }
    }
    report
}

/// Several runs of Rust's test binaries.
pub fn cargo(output: &Output) -> Report {
    let mut report = Report { passed: 0, skipped: 0, failed: BTreeSet::new() };
    for line in output.stdout.lines() {
        let Some((name, verdict)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) else {
            continue;
        };
        match verdict {
            "ok" => report.passed += 1,
            _ if verdict.starts_with("ignored") => report.skipped += 1,
            _ => {
                report.failed.insert(name.to_owned());
            }
        }
    }
    report
}

#[test]
fn verdicts_are_counted() {
    let said = |stdout: &str| Output { stdout: stdout.to_owned(), ..Output::default() };
    let report = go(&said("--- PASS: A (0.1s)\n    --- FAIL: A/b (0.1s)\n--- SKIP: C (0.00s)\n"));
    assert_eq!((report.passed, report.skipped, report.failed.len()), (1, 1, 1));
    let report = pytest(&said("PASSED t/a.py::one\nFAILED t/a.py::two[x] - E\nSKIPPED [3] t/b.py:1: no\n"));
    assert_eq!((report.passed, report.skipped), (1, 3));
    assert!(report.failed.contains("two[x]"));
    let text = r#"{"tests": {"0001_a": {"name": "0001_a", "state": "PASSED", "x": 1}, "0002_b": {"name": "0002_b", "state": "FAILED"}}"#;
    let report = librdkafka(&said(text));
    assert_eq!((report.passed, report.failed.first().unwrap().as_str()), (1, "0002_b"));
    let report = cargo(&said("test one ... ok\ntest two ... FAILED\ntest three ... ignored, why\n"));
    assert_eq!((report.passed, report.skipped, report.failed.len()), (1, 1, 1));
}
