//! kafka-dump-log: what is in the files of a partition: batches and records, indexes, aborted transactions.

mod decoders;
mod remote;
mod schema;
mod value;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use ottla_protocol::compression::Codec;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchView, TimestampType, batches};

use super::dump_index::{Checks, Findings, dump_index, dump_snapshot, dump_time_index, dump_transactions};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool};
use decoders::{Decoder, quorum_record};

pub const TOOL: Tool = Tool {
    name: "dump-log",
    about: "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly \
            corrupt log segment.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    flag(&["cluster-metadata-decoder"], "Read the records as those of the metadata log."),
    flag(&["deep-iteration"], "Print the records of each batch; --print-data-log does, too."),
    value(&["files"], Kind::Text, "file1, file2, ...", "REQUIRED: The files to dump, separated by commas."),
    flag(&["help"], "Print usage information."),
    flag(&["index-sanity-check"], "Only check that a broker would not rebuild the index when it starts."),
    value(
        &["key-decoder-class"],
        Kind::OptionalText,
        "",
        "How keys are read: org.apache.kafka.tools.api.StringDecoder (the default), IntegerDecoder, LongDecoder.",
    ),
    value(&["max-bytes"], Kind::Int, "size", "Read no more bytes of each .log file than these."),
    value(&["max-message-size"], Kind::Int, "size", "The largest batch that an index may point to. (default: 5242880)"),
    flag(&["offsets-decoder"], "Read the records as those of __consumer_offsets."),
    flag(&["print-data-log"], "Print the contents of the records."),
    flag(&["remote-log-metadata-decoder"], "Read the records as those of __remote_log_metadata."),
    flag(&["share-group-state-decoder"], "Read the records as those of __share_group_state."),
    flag(&["skip-record-metadata"], "With --print-data-log: only the contents."),
    flag(&["transaction-log-decoder"], "Read the records as those of __transaction_state."),
    value(&["value-decoder-class"], Kind::OptionalText, "", "How values are read, likewise."),
    flag(&["verify-index-only"], "Hold indexes against their log without printing them."),
    flag(&["version"], "Display the version."),
];

/// Each of these has the contents printed.
const CONTENTS: [&str; 8] = [
    "print-data-log",
    "offsets-decoder",
    "transaction-log-decoder",
    "cluster-metadata-decoder",
    "remote-log-metadata-decoder",
    "share-group-state-decoder",
    "value-decoder-class",
    "key-decoder-class",
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let files = options.required("files")?;
    let checks = Checks {
        is_sanity_only: options.has("index-sanity-check"),
        is_verify_only: options.has("verify-index-only"),
        batch_bytes_max: options.number("max-message-size").unwrap_or(5 * 1024 * 1024),
    };
    let mut findings = Findings::default();
    for file in files.split(',').map(str::trim) {
        writeln!(out, "Dumping {file}")?;
        let path = Path::new(file);
        let bytes = || {
            std::fs::read(path).map_err(|error| {
                Failure::failed(format!(
                    "Exception in thread \"main\" java.nio.file.NoSuchFileException: {file}: {error}"
                ))
            })
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log" | "checkpoint") => dump_log(path, bytes, options, out)?,
            Some("index") => dump_index(path, &bytes()?, &checks, &mut findings, out)?,
            Some("timeindex") => dump_time_index(path, &bytes()?, &checks, &mut findings, out)?,
            Some("txnindex") => dump_transactions(&bytes()?, out)?,
            Some("snapshot") => dump_snapshot(&bytes()?, out)?,
            _ => {
                out.flush()?;
                eprintln!("Ignoring unknown file {file}");
            }
        }
    }
    out.flush()?;
    eprint!("{}", findings.told());
    Ok(ExitCode::SUCCESS)
}

/// The first offset of a segment is its files' name.
pub fn base_offset(path: &Path) -> Result<i64, Failure> {
    let stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().split('.').next();
    let stem = stem.unwrap_or_default();
    stem.parse().map_err(|_| {
        Failure::failed(format!(
            "Exception in thread \"main\" java.lang.NumberFormatException: For input string: \"{stem}\""
        ))
    })
}

/// How records are printed.
struct Printing {
    decoder: Decoder,
    has_contents: bool,
    /// The contents alone, without offsets and sizes.
    is_bare: bool,
}

/// Offsets that are not the next ones.
#[derive(Default)]
struct Gaps {
    last_offset: Option<i64>,
    /// What came before each, and what came.
    pairs: BTreeMap<i64, i64>,
}

fn dump_log(
    path: &Path,
    read: impl FnOnce() -> Result<Vec<u8>, Failure>,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let has_contents = CONTENTS.iter().any(|name| options.has(name));
    let printing =
        Printing { decoder: Decoder::of(options)?, has_contents, is_bare: options.has("skip-record-metadata") };
    print_head(path, out)?;
    let bytes = read()?;
    let limit = options.number::<usize>("max-bytes");
    let bytes = &bytes[..limit.unwrap_or(bytes.len()).min(bytes.len())];
    let mut position = 0;
    let mut gaps = Gaps::default();
    for batch in batches(bytes) {
        let Ok(batch) = batch else { break };
        print_batch(&batch, position, out)?;
        if has_contents || options.has("deep-iteration") {
            print_records(&batch, &printing, &mut gaps, out)?;
        }
        position += batch.size();
    }
    if position < bytes.len() && limit.is_none() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "Found {} invalid bytes at the end of {name}", bytes.len() - position)?;
    }
    if !gaps.pairs.is_empty() {
        out.flush()?;
        eprintln!("Non-consecutive offsets in {}", std::path::absolute(path).unwrap_or_default().display());
        for (from, to) in gaps.pairs {
            eprintln!("  {from} is followed by {to}");
        }
    }
    Ok(())
}

/// Where the file begins, or up to where a snapshot of the metadata log goes.
fn print_head(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(".checkpoint") else {
        writeln!(out, "Log starting offset: {}", base_offset(path)?)?;
        return Ok(());
    };
    if stem == "bootstrap" {
        writeln!(out, "KRaft bootstrap snapshot")?;
        return Ok(());
    }
    let parts = stem.split_once('-').and_then(|(offset, epoch)| Some((offset.parse().ok()?, epoch.parse().ok()?)));
    let (offset, epoch): (i64, i32) = parts.ok_or_else(|| Failure::failed("No value present"))?;
    writeln!(out, "Snapshot end offset: {offset}, epoch: {epoch}")?;
    Ok(())
}

fn print_batch(batch: &BatchView<'_>, position: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let header = batch.header();
    let last_offset = header.base_offset.0 + i64::from(header.last_offset_delta);
    let last_sequence = if header.base_sequence < 0 {
        -1
    } else {
        ottla_protocol::record_batch::sequence_after(header.base_sequence, header.last_offset_delta)
    };
    let horizon = if header.attributes.has_delete_horizon() {
        format!("OptionalLong[{}]", header.base_timestamp.0)
    } else {
        "OptionalLong.empty".to_owned()
    };
    let codec = header.codec().map_or("unknown", Codec::name);
    writeln!(
        out,
        "baseOffset: {} lastOffset: {last_offset} count: {} baseSequence: {} lastSequence: {last_sequence} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} \
         position: {position} {}: {} size: {} magic: {} compresscodec: {codec} crc: {} isvalid: {}",
        header.base_offset.0,
        header.record_count,
        header.base_sequence,
        header.producer_id.0,
        header.producer_epoch.0,
        header.partition_leader_epoch.0,
        header.attributes.is_transactional(),
        header.attributes.is_control(),
        timestamp_name(header.attributes.timestamp_type()),
        header.max_timestamp.0,
        batch.size(),
        header.magic,
        header.crc,
        batch.crc_is_valid()
    )?;
    Ok(())
}

const fn timestamp_name(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn print_records(
    batch: &BatchView<'_>,
    printing: &Printing,
    gaps: &mut Gaps,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::failed(format!("A batch cannot be read: {error}"));
    let header = *batch.header();
    let kind = header.attributes.timestamp_type();
    let mut records = batch.records().map_err(|error| unreadable(&error))?;
    while let Some(record) = records.next_record().map_err(|error| unreadable(&error))? {
        let offset = header.base_offset.0 + i64::from(record.offset_delta);
        // Kafka's tool expects the first record of every file at 0, and so says this of all segments but the first.
        let previous = gaps.last_offset.unwrap_or(-1);
        if previous + 1 != offset {
            gaps.pairs.insert(previous, offset);
        }
        gaps.last_offset = Some(offset);
        if !printing.is_bare {
            let timestamp = match kind {
                TimestampType::CreateTime => header.base_timestamp.0 + record.timestamp_delta,
                TimestampType::LogAppendTime => header.max_timestamp.0,
            };
            let size = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            let sequence = match header.base_sequence {
                base if base < 0 => -1,
                base => ottla_protocol::record_batch::sequence_after(base, record.offset_delta),
            };
            let keys: Vec<String> =
                record.headers().map(|header| String::from_utf8_lossy(header.key).into_owned()).collect();
            write!(
                out,
                "| offset: {offset} {}: {timestamp} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
                timestamp_name(kind),
                size(record.key),
                size(record.value),
                keys.join(",")
            )?;
            if header.attributes.is_control() {
                print_control(record.key.unwrap_or_default(), record.value.unwrap_or_default(), out)?;
            }
        }
        if printing.has_contents && !header.attributes.is_control() {
            let decoded = printing.decoder.decode(offset, record.key, record.value)?;
            let mut prefix = if printing.is_bare { "| " } else { " " };
            if let Some(key) = decoded.key {
                write!(out, "{prefix}key: {key}")?;
                prefix = " ";
            }
            if let Some(payload) = decoded.payload {
                write!(out, "{prefix}payload: {payload}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn print_control(key: &[u8], value: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    let quorum = |title: &str, name: &str, value: &[u8]| -> Result<String, Failure> {
        let json = quorum_record(name, value).ok_or_else(|| Failure::failed(format!("{name} cannot be read")))?;
        Ok(format!(" {title} {json}"))
    };
    let text = match ControlRecord::parse(key, value) {
        Ok(ControlRecord::Abort { coordinator_epoch }) => {
            format!(" endTxnMarker: ABORT coordinatorEpoch: {coordinator_epoch}")
        }
        Ok(ControlRecord::Commit { coordinator_epoch }) => {
            format!(" endTxnMarker: COMMIT coordinatorEpoch: {coordinator_epoch}")
        }
        Ok(ControlRecord::LeaderChange(value)) => quorum("LeaderChange:", "LeaderChangeMessage", &value)?,
        Ok(ControlRecord::SnapshotHeader(value)) => quorum("SnapshotHeader", "SnapshotHeaderRecord", &value)?,
        Ok(ControlRecord::SnapshotFooter(value)) => quorum("SnapshotFooter", "SnapshotFooterRecord", &value)?,
        Ok(ControlRecord::KraftVersion(value)) => quorum("KRaftVersion", "KRaftVersionRecord", &value)?,
        Ok(ControlRecord::KraftVoters(value)) => quorum("KRaftVoters", "VotersRecord", &value)?,
        Ok(ControlRecord::Unknown { .. }) | Err(_) => {
            let kind = key.get(2..4).map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
            format!(" controlType: UNKNOWN({kind})")
        }
    };
    write!(out, "{text}")?;
    Ok(())
}
