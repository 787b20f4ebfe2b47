//! Bytes on the wire: every advertised version is answered, and what is refused is refused as Kafka refuses it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use ottla_compat_tests::requests::{self, CORRELATION_ID};
use ottla_compat_tests::results;
use ottla_compat_tests::story::{Session, story};
use ottla_compat_tests::toolchain::Need;
use ottla_compat_tests::wire::Wire;

const LIMIT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(1500);

#[track_caller]
fn wire_story(name: &str, steps: impl Fn(&mut Session)) {
    story("Wire protocol", name, &[Need::Maven, Need::Java], steps);
}

/// What happens to one frame: the answer's first bytes after the correlation id, or how the connection ends.
fn fate(session: &Session, frame: &[u8]) -> String {
    let mut wire = Wire::connect(session.broker.address(), LIMIT).unwrap();
    wire.send_raw(frame).ok();
    match wire.receive() {
        Ok(answer) if answer.starts_with(&CORRELATION_ID.to_be_bytes()) => "answered".into(),
        Ok(answer) => format!("a strange answer: {answer:?}"),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => "nothing".into(),
        Err(_) => "closed".into(),
    }
}

#[test]
fn every_advertised_version_is_answered() {
    wire_story("every advertised version answers", |s| {
        for range in requests::advertised(s.broker.address()).unwrap() {
            let mut answered = Vec::new();
            // Produce lists version 0 for old clients' sake and takes 3 and later. (KAFKA-18659)
            let min = if range.key == 0 { 3 } else { range.min };
            for version in min..=range.max {
                let Some((header, mut body)) = requests::default_request(range.key, version) else { continue };
                if range.key == 0 {
                    // Null transactional id, acks=1, a timeout, no topics: acks=0 would not be answered.
                    body[if version >= 9 { 2 } else { 3 }] = 1;
                    body[if version >= 9 { 1 } else { 2 }] = 0;
                }
                // Between brokers only; and an empty filter of ACLs is no right request.
                if (range.key == 24 && version >= 4) || range.key == 29 || requests::NOT_BUILT.contains(&range.key) {
                    answered.push(version);
                    continue;
                }
                let fate = fate(s, &[header, body].concat());
                s.note(&format!("{} {version}", requests::name(range.key)), &fate);
                if fate == "answered" {
                    answered.push(version);
                }
            }
            results::record_api(
                range.key,
                &requests::name(range.key),
                s.broker.target,
                Some((range.min, range.max)),
                &answered,
            );
        }
    });
}

#[test]
fn the_list_of_versions() {
    wire_story("ApiVersions", |s| {
        let mut ranges = requests::advertised(s.broker.address()).unwrap();
        ranges.retain(|range| !requests::NOT_BUILT.contains(&range.key));
        let mut rows: Vec<String> =
            ranges.iter().map(|r| format!("{} {} {}-{}", r.key, requests::name(r.key), r.min, r.max)).collect();
        rows.sort();
        s.note("ranges", &rows.join("\n"));
        // A version from the future is answered in the oldest form, with UNSUPPORTED_VERSION and the one range that matters.
        let mut wire = Wire::connect(s.broker.address(), LIMIT).unwrap();
        wire.send_raw(&requests::header(18, 99, 2)).unwrap();
        s.note("version 99", &format!("{:?}", wire.receive().unwrap()));
        // The connection goes on.
        wire.send_raw(&requests::header(18, 0, 1)).unwrap();
        s.note("then version 0", &format!("{:?}", &wire.receive().unwrap()[..6]));
    });
}

#[test]
fn refusals() {
    wire_story("refusals close the connection", |s| {
        let closes = |s: &Session, bytes: &[u8]| {
            let mut wire = Wire::connect(s.broker.address(), LIMIT).unwrap();
            wire.send_bytes(bytes).ok();
            wire.is_closed().to_string()
        };
        let cases: [(&str, &[u8]); 6] = [
            ("a TLS hello", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
            ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("a negative length", &[0xff, 0xff, 0xff, 0xfe]),
            ("a length over socket.request.max.bytes", &[0x7f, 0xff, 0xff, 0xff, 0]),
            ("an empty frame", &[0, 0, 0, 0]),
            ("half a header", &[0, 0, 0, 3, 0, 3, 0]),
        ];
        for (title, bytes) in cases {
            let closed = closes(s, bytes);
            s.note(title, &closed);
        }
        for (title, key, version) in [
            ("an unknown API", 999, 0),
            ("Metadata 99", 3, 99),
            ("Produce 2", 0, 2),
            ("Fetch 3", 1, 3),
            ("LeaderAndIsr", 4, 0),
            ("Vote", 52, 0),
        ] {
            let fate = fate(s, &[requests::header(key, version, 1), vec![0; 64]].concat());
            s.note(title, &fate);
        }
        let (header, body) = requests::default_request(3, 9).unwrap();
        let fate_of_cut = fate(s, &[&header[..], &body[..body.len() - 2]].concat());
        s.note("a body cut short", &fate_of_cut);
        let fate_of_long = fate(s, &[&header[..], &body, &[0, 0, 0]].concat());
        s.note("bytes after the body", &fate_of_long);
    });
}

#[test]
fn order_of_answers() {
    wire_story("answers in order, long polls, acks=0", |s| {
        s.quiet("kafka-topics --bootstrap-server @ --create --topic wire-order --partitions 1").ok();
        let mut wire = Wire::connect(s.broker.address(), LIMIT).unwrap();
        // A long-poll Fetch v4 of an empty partition: the requests behind it wait for its answer.
        let mut fetch = vec![0xff, 0xff, 0xff, 0xff];
        fetch.extend(700_i32.to_be_bytes());
        fetch.extend(1_i32.to_be_bytes());
        fetch.extend(1_000_000_i32.to_be_bytes());
        fetch.push(0);
        fetch.extend(1_i32.to_be_bytes());
        fetch.extend([&[0, 10], &b"wire-order"[..]].concat());
        fetch.extend(1_i32.to_be_bytes());
        fetch.extend([0; 4]);
        fetch.extend([0; 8]);
        fetch.extend(1_000_000_i32.to_be_bytes());
        let numbered = |key: i16, version: i16, id: i32, body: &[u8]| {
            let mut frame = requests::header(key, version, 1);
            frame[4..8].copy_from_slice(&id.to_be_bytes());
            frame.extend_from_slice(body);
            frame
        };
        wire.send_raw(&numbered(1, 4, 1, &fetch)).unwrap();
        for id in 2..6 {
            wire.send_raw(&numbered(18, 0, id, &[])).unwrap();
        }
        let order: Vec<i32> = (1..6)
            .map(|_| wire.receive().unwrap())
            .map(|answer| i32::from_be_bytes(answer[..4].try_into().unwrap()))
            .collect();
        s.note("order", &format!("{order:?}"));
        // acks=0: no answer of its own; the next request's answer comes next.
        let mut produce = vec![0xff, 0xff, 0, 0];
        produce.extend(1000_i32.to_be_bytes());
        produce.extend([0; 4]);
        wire.send_raw(&numbered(0, 3, 10, &produce)).unwrap();
        wire.send_raw(&numbered(18, 0, 11, &[])).unwrap();
        s.note("after acks=0", &format!("{:?}", &wire.receive().unwrap()[..4]));
        let mut quiet = Wire::connect(s.broker.address(), SHORT).unwrap();
        quiet.send_raw(&numbered(0, 3, 12, &produce)).unwrap();
        s.note("acks=0 alone", &format!("{:?}", quiet.receive().is_err()));
        s.note("and stays open", &format!("{:?}", quiet.is_closed()));
    });
}
