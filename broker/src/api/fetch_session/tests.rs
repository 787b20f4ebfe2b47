//! Sessions begin, go on, forget and are evicted.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic: TopicKey::Name("t".into()), partition }
}

fn asked(partition: i32, offset: i64) -> Asked {
    Asked {
        key: key(partition),
        name: Some("t".into()),
        fetch_offset: Offset(offset),
        log_start: Offset(-1),
        max_bytes: 1000,
        current_leader_epoch: LeaderEpoch(-1),
        last_fetched_epoch: LeaderEpoch(-1),
        known: None,
    }
}

const CONSUMER: Reader = Reader { isolation: Isolation::HighWatermark, follower: None, learns_by_moves: true };
const FOLLOWER: Reader =
    Reader { isolation: Isolation::LogEnd, follower: Some((BrokerId(2), 7)), learns_by_moves: true };

fn request(session_id: i32, epoch: i32, asked: Vec<Asked>) -> SessionRequest {
    SessionRequest { session_id, epoch, uses_topic_ids: false, reader: CONSUMER, asked, forgotten: vec![] }
}

/// What is read for a request, in order.
fn read(context: &FetchContext) -> Vec<i32> {
    context.looks().iter().map(|look| look.asked.key.partition).collect()
}

fn told(high_watermark: i64, has_records: bool) -> Told {
    Told {
        has_records,
        is_remarkable: false,
        is_error: false,
        high_watermark: Offset(high_watermark),
        log_start: Offset(0),
    }
}

fn resolve(sessions: &FetchSessions, request: SessionRequest, now: i64) -> FetchContext {
    sessions.resolve(request, Timestamp(now), |_| None)
}

fn open(sessions: &FetchSessions, partitions: i32, now: i64) -> i32 {
    let context = resolve(sessions, request(0, 0, (0..partitions).map(|p| asked(p, 0)).collect()), now);
    let answers = (0..partitions).map(|p| (key(p), told(10, true))).collect();
    let (id, answers) = sessions.finish(context, answers, |t| *t, Timestamp(now));
    assert_eq!(answers.unwrap().len(), usize::try_from(partitions).unwrap(), "a full answer tells everything");
    id
}

fn partitions(answers: &[(PartitionKey, Told)]) -> Vec<i32> {
    answers.iter().map(|(key, _)| key.partition).collect()
}

#[test]
fn an_incremental_answer_leaves_out_what_is_not_new() {
    let sessions = FetchSessions::new(10);
    let id = open(&sessions, 3, 0);
    assert_ne!(id, NO_SESSION);
    let context = resolve(&sessions, request(id, 1, vec![asked(0, 10)]), 1);
    assert_eq!(context.looks().len(), 3, "all of the session's partitions are read");
    assert_eq!(context.looks()[0].asked.fetch_offset, Offset(10));
    let answers = vec![(key(0), told(10, false)), (key(1), told(11, false)), (key(2), told(10, true))];
    let (same, answers) = sessions.finish(context, answers, |t| *t, Timestamp(1));
    assert_eq!((same, partitions(&answers.unwrap())), (id, vec![1, 2]));
    // 2 had records and goes to the end; an error is told, and what follows it too.
    let context = resolve(&sessions, request(id, 2, vec![]), 2);
    assert_eq!(read(&context), [0, 1, 2]);
    let failed = Told { is_error: true, is_remarkable: true, ..told(-1, false) };
    let (_, answers) = sessions.finish(context, vec![(key(0), failed)], |t| *t, Timestamp(2));
    assert_eq!(partitions(&answers.unwrap()), [0]);
    let context = resolve(&sessions, request(id, 3, vec![]), 3);
    let (_, answers) = sessions.finish(context, vec![(key(0), told(10, false))], |t| *t, Timestamp(3));
    assert_eq!(partitions(&answers.unwrap()), [0]);
}

#[test]
fn partitions_with_records_are_read_last_the_next_time() {
    let sessions = FetchSessions::new(10);
    let id = open(&sessions, 3, 0);
    let context = resolve(&sessions, request(id, 1, vec![]), 1);
    let _ = sessions.finish(context, vec![(key(0), told(20, true))], |t| *t, Timestamp(1));
    let context = resolve(&sessions, request(id, 2, vec![]), 1);
    assert_eq!(read(&context), [1, 2, 0]);
}

#[test]
fn wrong_epochs_ids_and_naming_are_refused() {
    let sessions = FetchSessions::new(10);
    let id = open(&sessions, 1, 0);
    let refused = |request| match resolve(&sessions, request, 1) {
        FetchContext::Refused(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(request(id, 2, vec![])), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refused(request(id.wrapping_add(1).max(1), 1, vec![])), ErrorCode::FetchSessionIdNotFound);
    let by_id = SessionRequest { uses_topic_ids: true, ..request(id, 1, vec![]) };
    assert_eq!(refused(by_id), ErrorCode::FetchSessionTopicIdError);
}

#[test]
fn a_session_without_partitions_is_closed() {
    let sessions = FetchSessions::new(10);
    let id = open(&sessions, 1, 0);
    let last = SessionRequest { forgotten: vec![key(0)], ..request(id, 1, vec![]) };
    assert!(matches!(resolve(&sessions, last, 1), FetchContext::Sessionless(looks) if looks.is_empty()));
    assert_eq!(sessions.size(), (0, 0));
    let id = open(&sessions, 1, 0);
    assert!(matches!(resolve(&sessions, request(id, -1, vec![]), 1), FetchContext::Sessionless(_)));
    assert_eq!(sessions.size(), (0, 0));
}

#[test]
fn an_answer_overtaken_by_a_later_request_is_an_error() {
    let sessions = FetchSessions::new(10);
    let id = open(&sessions, 1, 0);
    let slow = resolve(&sessions, request(id, 1, vec![]), 1);
    let _fast = resolve(&sessions, request(id, 2, vec![]), 1);
    let (_, answers) = sessions.finish(slow, vec![(key(0), told(10, false))], |t| *t, Timestamp(1));
    assert_eq!(answers.unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
}

#[test]
fn a_complete_request_that_is_held_back_opens_no_session() {
    let sessions = FetchSessions::new(10);
    let context = resolve(&sessions, request(0, 0, vec![asked(0, 0)]), 0).held_back();
    let (id, answers) = sessions.finish(context, Vec::new(), |told: &Told| *told, Timestamp(0));
    assert_eq!((id, answers.unwrap().len()), (NO_SESSION, 0));
    assert_eq!(sessions.size(), (0, 0));
    // A session that is there already goes on.
    let kept = open(&sessions, 1, 0);
    let context = resolve(&sessions, request(kept, 1, vec![]), 1).held_back();
    let (id, answers) = sessions.finish(context, Vec::new(), |told: &Told| *told, Timestamp(1));
    assert_eq!((id, answers.unwrap().len()), (kept, 0));
    assert_eq!(sessions.size(), (1, 1));
}

#[tokio::test]
async fn a_follower_may_send_its_next_request_before_the_answer() {
    let sessions = FetchSessions::new(10);
    let first = SessionRequest { reader: FOLLOWER, ..request(0, 0, vec![asked(0, 0)]) };
    let context = resolve(&sessions, first, 0);
    let (id, _) = sessions.finish(context, vec![(key(0), told(10, false))], |t| *t, Timestamp(0));
    let of_follower = |epoch, asked| SessionRequest { reader: FOLLOWER, ..request(id, epoch, asked) };
    let mut waits = resolve(&sessions, of_follower(1, vec![]), 1);
    let next = resolve(&sessions, of_follower(2, vec![asked(1, 0)]), 1);
    assert_eq!(sessions.moved(&mut waits).await, None);
    let (_, answers) = sessions.finish(waits, vec![(key(0), told(11, true))], |t| *t, Timestamp(1));
    assert!(answers.unwrap().is_empty());
    let (_, answers) = sessions.finish(next, vec![(key(0), told(11, true))], |t| *t, Timestamp(1));
    assert_eq!(partitions(&answers.unwrap()), [0]);
}

#[test]
fn a_full_cache_pushes_out_the_stale_and_the_smaller() {
    let sessions = FetchSessions::new(1);
    let first = open(&sessions, 2, 0);
    assert_eq!(open(&sessions, 5, 1), NO_SESSION, "a fresh session is safe");
    let second = open(&sessions, 1, EVICTION_MIN_MS + 1);
    assert_ne!(second, NO_SESSION, "the first was not used for too long");
    assert!(matches!(resolve(&sessions, request(first, 1, vec![]), 1), FetchContext::Refused(_)));
    // Old but used: only a bigger one takes its place.
    let late = 2 * EVICTION_MIN_MS + 2;
    resolve(&sessions, request(second, 1, vec![]), late);
    assert_eq!(open(&sessions, 1, late), NO_SESSION);
    assert_ne!(open(&sessions, 2, late), NO_SESSION);
}

#[test]
fn the_epoch_wraps_to_one() {
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn names_of_unknown_ids_are_found_later() {
    let sessions = FetchSessions::new(1);
    let id = TopicId(uuid::Uuid::from_u128(7));
    let by_id = PartitionKey { topic: TopicKey::Id(id), partition: 0 };
    let asked = Asked { key: by_id.clone(), name: None, ..asked(0, 0) };
    let request = SessionRequest { uses_topic_ids: true, ..request(0, 0, vec![asked]) };
    let context = resolve(&sessions, request, 0);
    let (session, _) = sessions.finish(context, vec![(by_id, told(0, false))], |t| *t, Timestamp(0));
    let again = SessionRequest { uses_topic_ids: true, ..self::request(session, 1, vec![]) };
    let context = sessions.resolve(again, Timestamp(1), |_| Some("found".into()));
    assert_eq!(context.looks()[0].asked.name.as_deref(), Some("found"));
}
