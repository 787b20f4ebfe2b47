//! Hand-made histories: a good one, and for each anomaly one that has it.

use super::*;

/// Two writers and a reader; everything as it should be.
const GOOD: &str = r#"
{"p":"a","f":"txn","type":"ok","commit":10,"group":"ga","n":1,"ops":[["s",0,"a1",0],["s",1,"a2",0]]}
{"p":"b","f":"txn","type":"fail","commit":null,"group":"gb","n":1,"ops":[["s",0,"b1",2]]}
{"p":"b","f":"txn","type":"info","commit":20,"group":"gb","n":2,"ops":[["s",0,"b2",null],["s",1,"b3",null]]}
{"p":"b","f":"txn","type":"info","commit":30,"group":"gb","n":3,"ops":[["s",0,"b4",null]]}
{"p":"r","f":"txn","type":"ok","commit":50,"ops":[["p",1,0,[[0,"a1"],[4,"b2"]],40],["p",1,1,[[0,"a2"],[2,"b3"]],41],["s",0,"r1",8]]}
{"p":"r","f":"txn","type":"fail","commit":null,"ops":[["p",1,0,[[8,"r1"]],60]]}
{"p":"f","f":"final","type":"ok","commit":null,"ops":[["p",1,0,[[0,"a1"],[4,"b2"],[8,"r1"]],90],["p",1,1,[[0,"a2"],[2,"b3"]],91]]}
{"p":"f","f":"raw","type":"ok","commit":null,"ops":[["p",1,0,[[0,"a1"],[2,"b1"],[4,"b2"],[8,"r1"]],95]]}
{"f":"offset","group":"ga","n":1}
{"f":"offset","group":"gb","n":2}
"#;

fn kinds(text: &str) -> Vec<Kind> {
    let mut history = History::default();
    history.add(text.trim_start()).unwrap();
    let mut kinds: Vec<Kind> = check(&history).anomalies.iter().map(|anomaly| anomaly.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The good history with one text in it replaced.
#[track_caller]
fn with(old: &str, new: &str) -> Vec<Kind> {
    assert!(GOOD.contains(old), "{old}");
    kinds(&GOOD.replace(old, new))
}

#[test]
fn a_good_history_has_no_anomaly_and_is_counted() {
    let mut history = History::default();
    history.add(GOOD.trim_start()).unwrap();
    let report = check(&history);
    assert_eq!(report.anomalies, []);
    assert_eq!((report.committed, report.aborted, report.unknown), (2, 2, 2));
    assert_eq!((report.seen, report.observed), (5, 10));
}

#[test]
fn an_offset_has_one_value_and_a_value_one_offset() {
    // Acknowledged at 0, found at 0 by one reader; another sees something else there.
    assert_eq!(
        with(r#"[["p",1,0,[[0,"a1"],[4,"b2"],[8,"r1"]],90]"#, r#"[["p",1,0,[[0,"b2"],[4,"b2"],[8,"r1"]],90]"#),
        [Kind::InconsistentOffset, Kind::Duplicate]
    );
    // The acknowledgement named another offset than where the value was read.
    assert_eq!(with(r#"["s",0,"a1",0]"#, r#"["s",0,"a1",1]"#), [Kind::Duplicate]);
    assert_eq!(
        with(r#"[2,"b1"],[4,"b2"],[8,"r1"]],95"#, r#"[2,"b1"],[4,"b2"],[6,"b2"],[8,"r1"]],95"#),
        [Kind::Duplicate]
    );
}

#[test]
fn nothing_aborted_is_read() {
    let seen =
        with(r#"[["p",1,0,[[0,"a1"],[4,"b2"],[8,"r1"]],90]"#, r#"[["p",1,0,[[0,"a1"],[2,"b1"],[4,"b2"],[8,"r1"]],90]"#);
    // Seen by one, it has been passed over by the others.
    assert_eq!(seen, [Kind::AbortedRead, Kind::PollSkip]);
}

#[test]
fn nothing_is_read_before_its_commit() {
    assert_eq!(with(r#""info","commit":20"#, r#""info","commit":45"#), [Kind::PrecommittedRead]);
}

#[test]
fn what_was_committed_is_not_lost() {
    // Everybody passes offset 0 of key 1 without seeing a2.
    let text = GOOD.replace(r#"[0,"a2"],"#, "");
    assert_eq!(kinds(&text), [Kind::LostWrite]);
    // Nobody gets as far as offset 8 of key 0.
    let text = GOOD.replace(r#",[8,"r1"]"#, "").replace(r#"[[8,"r1"]]"#, "[]");
    assert_eq!(kinds(&text), [Kind::Unseen]);
}

#[test]
fn a_transaction_is_seen_whole_even_if_its_end_is_unknown() {
    let text = GOOD.replace(r#",[2,"b3"]"#, "");
    assert_eq!(kinds(&text), [Kind::TornTransaction]);
    // With nothing of it seen, it did not happen.
    let text = text.replace(r#",[4,"b2"]"#, "").replace(r#""gb","n":2}"#, r#""gb","n":3}"#);
    assert_eq!(kinds(&text), []);
}

#[test]
fn a_session_neither_goes_back_nor_passes_over() {
    assert_eq!(with(r#"[["p",1,0,[[8,"r1"]],60]]"#, r#"[["p",1,0,[[0,"a1"]],60]]"#), [Kind::NonmonotonicPoll]);
    assert_eq!(with(r#"[["p",1,0,[[8,"r1"]],60]]"#, r#"[["p",2,0,[[0,"a1"]],60]]"#), [], "another session");
    assert_eq!(with(r#"[[0,"a1"],[4,"b2"]],40"#, r#"[[0,"a1"]],40"#), [Kind::PollSkip]);
    // The last reading has to begin at the beginning.
    assert_eq!(with(r#"[[0,"a2"],[2,"b3"]],91"#, r#"[[2,"b3"]],91"#), [Kind::PollSkip]);
}

#[test]
fn a_producers_records_keep_their_order() {
    let later = r#"{"p":"a","f":"txn","type":"fail","commit":null,"ops":[["s",1,"a3",12],["s",1,"a4",11]]}
{"f":"offset","group":"ga","n":1}"#;
    assert_eq!(with(r#"{"f":"offset","group":"ga","n":1}"#, later), [Kind::NonmonotonicSend]);
}

#[test]
fn information_does_not_flow_in_circles() {
    // a sees r1, r has seen a1.
    let text = GOOD.replace(r#""ops":[["s",0,"a1",0]"#, r#""ops":[["p",7,0,[[8,"r1"]],55],["s",0,"a1",0]"#);
    assert_eq!(kinds(&text), [Kind::CircularInformation]);
}

#[test]
fn a_value_that_nobody_wrote_is_a_phantom() {
    assert_eq!(
        with(r#"["p",1,1,[[0,"a2"],[2,"b3"]],41]"#, r#"["p",1,1,[[0,"a2"],[1,"x"],[2,"b3"]],41]"#),
        [Kind::PollSkip, Kind::Phantom]
    );
    // In another key than it was written to.
    assert_eq!(with(r#"["s",1,"a2",0]"#, r#"["s",2,"a2",0]"#), [Kind::Phantom]);
}

#[test]
fn a_groups_offset_is_of_its_last_committed_transaction() {
    assert_eq!(with(r#""group":"gb","n":2}"#, r#""group":"gb","n":1}"#), [Kind::WrongGroupOffset], "aborted");
    assert_eq!(with(r#""group":"gb","n":2}"#, r#""group":"gb","n":3}"#), [], "unknown, and later");
    assert_eq!(with(r#""group":"ga","n":1}"#, r#""group":"ga","n":-1}"#), [Kind::WrongGroupOffset], "lost");
    assert_eq!(with(r#""group":"gb","n":2}"#, r#""group":"gb","n":9}"#), [Kind::WrongGroupOffset], "never written");
    assert_eq!(with("{\"f\":\"offset\",\"group\":\"ga\",\"n\":1}\n", ""), [Kind::WrongGroupOffset], "not asked for");
}

#[test]
fn a_line_that_its_writer_did_not_finish_is_left_out() {
    let mut history = History::default();
    history.add("{\"f\":\"offset\",\"group\":\"g\",\"n\":1}\n{\"p\":\"a\",\"f\":\"tx").unwrap();
    assert_eq!(history.group_offsets.len(), 1);
    assert!(history.add("nonsense\n").is_err());
}
