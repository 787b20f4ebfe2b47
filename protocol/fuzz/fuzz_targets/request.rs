//! A frame as a connection reads it: prefix, header, body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla_protocol::frame::{Prefix, check};
use ottla_protocol::request::decode;

fuzz_target!(|bytes: &[u8]| {
    let Some((prefix, body)) = bytes.split_first_chunk::<4>() else { return };
    if let Prefix::Length(length) = check(*prefix, 100 << 20) {
        assert!(length <= 100 << 20);
    }
    // The body is decoded whatever the prefix says, or hardly any input would get there.
    if let Ok(request) = decode(Bytes::copy_from_slice(body)) {
        assert_eq!(request.size, body.len());
    }
});
