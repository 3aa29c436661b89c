//! How many bytes of state a recording costs: takes so many made-up recordings the way through the catalogue that real ones
//! take, with one delivery each, and prints the size of the state directory before and after a restart, and after one that compacts it. The number of
//! recordings may be 0: then what is in the directory is compacted and measured.
//!
//! `cargo run --release --example state_bytes -- STATE_DIR [RECORDINGS]`

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aftercast::catalog::{BeginOutcome, Catalog};
use aftercast::discover::Settled;
use aftercast::recording::journey::{Candidate, Evidence, NameFacts, Stage, Step};
use aftercast::recording::{
    Asset, AssetFile, Delivery, DeliveryState, Fingerprint, Kind, RemoteObject, VodRecord, vod_id,
};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const DEFAULT_RECORDINGS: u64 = 20_000;
/// Streams that they belong to.
const STREAMS: u64 = 40;
const FIRST_MS: i64 = 1_772_634_615_000;
/// A recording ends every so often.
const APART_MS: i64 = 61_000;

fn main() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().map(PathBuf::from).ok_or("usage: state_bytes STATE_DIR [RECORDINGS]")?;
    let count = args.next().map_or(Ok(DEFAULT_RECORDINGS), |n| n.to_string_lossy().parse())?;
    let begun = std::time::Instant::now();
    let catalog = Catalog::open(&dir)?;
    for number in 0..count {
        record(&catalog, number)?;
    }
    let written_s = begun.elapsed().as_secs_f64();
    let written = bytes_below(&dir)?;
    drop(catalog);
    let begun = std::time::Instant::now();
    drop(Catalog::open(&dir)?);
    let reopened_s = begun.elapsed().as_secs_f64();
    let restarted = bytes_below(&dir)?;
    let begun = std::time::Instant::now();
    drop(Catalog::open_compacted(&dir, &|| false)?);
    let compacted_s = begun.elapsed().as_secs_f64();
    let compacted = bytes_below(&dir)?;
    let said = json!({
        "recordings": count, "stateBytes": written, "bytesPerRecording": written / count.max(1), "seconds": written_s,
        "stateBytesAfterRestart": restarted, "bytesPerRecordingAfterRestart": restarted / count.max(1),
        "restartSeconds": reopened_s,
        "stateBytesCompacted": compacted, "bytesPerRecordingCompacted": compacted / count.max(1),
        "compactingStartSeconds": compacted_s,
    });
    writeln!(std::io::stdout(), "{said}")?;
    Ok(())
}

/// Begun, named, published, catalogued, its source removed, delivered.
fn record(catalog: &Catalog, number: u64) -> Outcome<()> {
    let now_ms = FIRST_MS + APART_MS * number.cast_signed();
    let settled = settled(number, now_ms)?;
    let BeginOutcome::Attempt { key, .. } = catalog.begin(&settled, now_ms)? else { return Err("it is known".into()) };
    let record = vod(&settled, number, now_ms)?;
    catalog.reserve_name(&record.file_path, &key)?;
    let publishing = Step::Publishing {
        written_path: record.file_path.with_file_name(".aftercast-room.mp4.partial"),
        written: record.fingerprint,
        record: Box::new(record.clone()),
        removes_source: true,
    };
    catalog.advance(&key, Stage::Begun, publishing, now_ms)?;
    let delivery = delivery(&record, now_ms);
    catalog.commit_vod(&key, &record, std::slice::from_ref(&delivery), true, now_ms)?;
    catalog.advance(&key, Stage::Catalogued, Step::Done { vod_id: record.vod_id.clone() }, now_ms)?;
    catalog.begin_delivery(&delivery.id, now_ms)?;
    catalog.delivered(&delivery.id, &[object(&record, now_ms)], now_ms)?;
    Ok(())
}

/// Numbers that look like no other's, as digests, inodes and times do.
fn scattered(number: u64, what: &str) -> blake3::Hash {
    blake3::hash(format!("{what} {number}").as_bytes())
}

fn fingerprint(number: u64, what: &str, now_ms: i64) -> Fingerprint {
    let bytes = scattered(number, what);
    let number = |at: usize| u64::from(u32::from_le_bytes([0, 1, 2, 3].map(|n| bytes.as_bytes()[at + n])));
    let mtime_ns = now_ms * 1_000_000 + i64::try_from(number(8) % 1_000_000).unwrap_or(0);
    Fingerprint {
        device: 2_049,
        inode: 1_000_000 + number(0) % 9_000_000,
        size_bytes: 40_000_000 + number(4),
        mtime_ns,
    }
}

fn settled(number: u64, now_ms: i64) -> Outcome<Settled> {
    let stream = format!("room-{}", number % STREAMS);
    let stem = format!("{stream}-2026-03-04_14-30-15.{number:06}");
    let candidate = Candidate {
        path: format!("/usr/local/antmedia/webapps/LiveApp/streams/{stem}.ts.tmp").into(),
        root: "/usr/local/antmedia/webapps/LiveApp/streams".into(),
        server: "antmedia".into(),
        is_temporary: true,
        facts: NameFacts { stream_id: stream, stem, start_ms: Some(now_ms - 3_600_000), rendition: None, part: None },
        fingerprint: fingerprint(number, "source", now_ms),
    };
    // As the journal reads it back: only the program itself settles a file.
    Ok(serde_json::from_value(json!({ "candidate": candidate, "evidence": Evidence::CloseSeen }))?)
}

fn vod(settled: &Settled, number: u64, now_ms: i64) -> Outcome<VodRecord> {
    let (candidate, finished) = (settled.candidate(), fingerprint(number, "finished", now_ms));
    let name = format!("{}.mp4", candidate.facts.stem);
    let id = vod_id(&candidate.facts.stream_id, &name, &[(number, *scattered(number, "payloads").as_bytes())]);
    let digest = |what: &str| scattered(number, what).to_hex().to_string();
    let record = json!({
        "version": 1, "vodId": id, "streamId": candidate.facts.stream_id, "streamName": candidate.facts.stream_id,
        "vodName": name, "filePath": candidate.root.join(&name), "root": candidate.root,
        "duration": 3_600_000 + number % 977, "creationDate": now_ms, "startTime": now_ms - 3_600_000, "startSource": "name",
        "fileSize": finished.size_bytes, "type": "streamVod", "container": "mp4",
        "tracks": [
            {
                "kind": "video", "codec": "h264", "packets": 108_000 + number % 31, "bytes": finished.size_bytes - 9_000_000,
                "durationMs": 3_600_000 + number % 977, "startMs": 0, "width": 1_920, "height": 1_080, "frameRate": 30.0,
                "keyframeIntervalMs": 2_000, "digest": digest("video"),
            },
            {
                "kind": "audio", "codec": "aac", "packets": 168_750 + number % 31, "bytes": 8_640_000 + number % 6_011,
                "durationMs": 3_600_010 + number % 977, "startMs": 21, "sampleRateHz": 48_000, "channels": 2,
                "language": "und", "digest": digest("audio"),
            },
        ],
        "bitrate": finished.size_bytes * 8 / 3_600, "wallClock": 3_600_912 + number % 977,
        "defects": [{ "kind": "truncated", "missing": format!("{} bytes", number % 188) }], "outcome": "remuxed", "salvaged": false,
        "server": "antmedia", "sourcePath": candidate.path, "source": candidate.fingerprint, "evidence": settled.evidence(),
        "fingerprint": finished, "remote": [],
    });
    Ok(serde_json::from_value(record)?)
}

fn delivery(record: &VodRecord, now_ms: i64) -> Delivery {
    Delivery {
        id: Delivery::id_of(&record.vod_id, "primary"),
        asset: Asset {
            id: record.vod_id.clone(),
            kind: Kind::Recording,
            vod_id: Some(record.vod_id.clone()),
            stream_id: record.stream_id.clone(),
            root: record.root.clone(),
            start_ms: record.start_time,
            duration_ms: Some(record.duration),
            salvaged: false,
            files: vec![AssetFile::new(record.file_path.clone(), record.fingerprint)],
        },
        target: "primary".into(),
        state: DeliveryState::Waiting { due_ms: now_ms, last_fault: None },
        attempts: 0,
        queued_ms: now_ms,
    }
}

fn object(record: &VodRecord, now_ms: i64) -> RemoteObject {
    let checksum = scattered(record.fingerprint.inode, "checksum").to_hex();
    RemoteObject {
        target: "primary".into(),
        key: format!("streams/{}/{}", record.stream_id, record.vod_name),
        url: format!("s3://recordings/streams/{}/{}", record.stream_id, record.vod_name),
        size_bytes: record.file_size,
        etag: Some(format!("\"{}-4\"", &checksum[..32])),
        version: None,
        checksum: Some(format!("crc64nvme:{}", &checksum[32..48])),
        checksum_compared: true,
        verified_ms: now_ms + 9_000,
        source: record.fingerprint,
        source_changed_ns: Some(record.fingerprint.mtime_ns),
        differs: None,
        differs_when_read: false,
        is_progressive_copy: false,
    }
}

/// What a directory takes on the disk.
fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
