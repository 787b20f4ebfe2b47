//! What old librdkafka and clients newer than the broker put on the wire.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use ottla_protocol::messages::ApiVersionsResponse;
use ottla_protocol::messages::api_versions_response::ApiVersion;
use ottla_protocol::request::{DecodeError, RequestBody, decode};
use ottla_protocol::response;

#[test]
fn librdkafka_0_11_asks_with_version_0() {
    // Key 18, version 0, correlation id 1, client id "rdkafka", no body.
    let frame = Bytes::from_static(b"\x00\x12\x00\x00\x00\x00\x00\x01\x00\x07rdkafka");
    let request = decode(frame).unwrap();
    assert_eq!((request.api_key, request.version, request.header.correlation_id), (18, 0, 1));
    assert_eq!(request.header.client_id.as_deref(), Some("rdkafka"));
    assert!(matches!(request.body, RequestBody::ApiVersions(_)));
}

#[test]
fn librdkafka_2_asks_with_version_3() {
    let frame = Bytes::from_static(b"\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07rdkafka\x00\x0blibrdkafka\x062.6.1\x00");
    let request = decode(frame).unwrap();
    let RequestBody::ApiVersions(body) = request.body else { panic!("another API") };
    assert_eq!((&*body.client_software_name, &*body.client_software_version), ("librdkafka", "2.6.1"));
}

#[test]
fn a_client_without_an_id_is_served() {
    let request = decode(Bytes::from_static(b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff")).unwrap();
    assert_eq!(request.header.client_id, None);
}

#[test]
fn a_newer_api_versions_names_its_correlation_id() {
    // Whatever a later version puts into its body must not matter.
    let frame = Bytes::from_static(b"\x00\x12\x00\x63\x00\x00\x00\x09\x00\x01c\x00\xff\xff\xff");
    let expected =
        DecodeError::UnsupportedVersion { api_key: 18, version: 99, correlation_id: 9, client_id: Some("c".into()) };
    assert_eq!(decode(frame).unwrap_err(), expected);
}

#[test]
fn the_refusal_of_a_version_reads_as_version_0() {
    let refusal = ApiVersionsResponse::default()
        .with_error_code(35)
        .with_api_keys(vec![ApiVersion::default().with_api_key(18).with_min_version(0).with_max_version(4)]);
    let frame = response::encode(9, 0, &refusal).unwrap();
    assert_eq!(&frame[..], b"\x00\x00\x00\x10\x00\x00\x00\x09\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04");
}

#[test]
fn the_answer_to_api_versions_has_the_old_header_in_every_version() {
    // A client cannot know the header's form before it has this answer (KIP-511).
    let frame = response::encode(9, 4, &ApiVersionsResponse::default().with_error_code(5)).unwrap();
    assert_eq!(&frame[4..10], b"\x00\x00\x00\x09\x00\x05");
}

#[test]
fn removed_and_unknown_apis() {
    let of = |key: i16, version: i16| {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(b"\x00\x00\x00\x01\xff\xff");
        decode(Bytes::from(frame)).unwrap_err()
    };
    // ControlledShutdown, gone since 4.0, and an API that never was.
    for key in [7, 999, -1] {
        assert_eq!(of(key, 0), DecodeError::UnknownApi { api_key: key, version: 0 });
    }
    // Produce is listed from 0 but read from 3; Fetch v3 is gone.
    for (api_key, version) in [(0, 2), (1, 3), (1, 19), (3, -1)] {
        let expected = DecodeError::UnsupportedVersion { api_key, version, correlation_id: 1, client_id: None };
        assert_eq!(of(api_key, version), expected);
    }
}

#[test]
fn frames_that_are_no_requests() {
    for frame in [
        &b""[..],
        b"\x00",
        b"\x00\x12\x00\x00\x00\x00\x00",
        b"\x00\x12\x00\x00\x00\x00\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        assert!(decode(Bytes::from_static(frame)).is_err(), "{frame:?}");
    }
}

#[test]
fn bytes_behind_the_body_are_ignored() {
    let frame = Bytes::from_static(b"\x00\x12\x00\x00\x00\x00\x00\x01\x00\x07rdkafka\x00\x00");
    assert!(matches!(decode(frame).unwrap().body, RequestBody::ApiVersions(_)));
}
