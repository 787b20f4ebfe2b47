//! Keys and values of the internal topics, as a coordinator reads them when it loads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::records::share::{ShareRecordKey, ShareRecordValue};
use ottla_protocol::records::transaction::{TransactionRecordKey, TransactionRecordValue};

macro_rules! read {
    ($key:ty, $value:ty, $key_bytes:expr, $value_bytes:expr) => {
        if let Ok(key) = <$key>::decode($key_bytes) {
            let again = <$key>::decode(&key.encode().expect("what was read can be written"));
            assert_eq!(again.as_ref(), Ok(&key));
            if let Ok(value) = <$value>::decode(&key, $value_bytes) {
                let _ = value.encode();
            }
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((split, bytes)) = bytes.split_first() else { return };
    let (key, value) = bytes.split_at((*split as usize).min(bytes.len()));
    read!(GroupRecordKey, GroupRecordValue, key, value);
    read!(TransactionRecordKey, TransactionRecordValue, key, value);
    read!(ShareRecordKey, ShareRecordValue, key, value);
});
