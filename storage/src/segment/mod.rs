//! A segment: one `.log` file and its indexes.

mod file_records;

pub use file_records::FileRecords;
