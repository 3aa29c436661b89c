//! A catalogue of made-up VoDs of one root, a minute apart, with files that are not there.

use std::error::Error;
use std::path::Path;

use aftercast::catalog::Catalog;
use aftercast::recording::{VodRecord, vod_id};
use serde_json::json;

/// What making it may meet.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Streams that they are of.
pub const STREAMS: u64 = 5_000;
const FIRST_MS: i64 = 1_600_000_000_000;
/// VoDs that are added together.
const BATCH: u64 = 10_000;

/// Adds VoDs, each so many milliseconds after the one before, with the preview image of a server if there is one; nothing where there
/// are VoDs already.
pub fn fill(catalog: &Catalog, root: &Path, vods: u64, apart_ms: i64, preview: Option<&Path>) -> Outcome<()> {
    if catalog.shared().all_vods()?.next().is_some() {
        return Ok(());
    }
    for first in (0..vods).step_by(usize::try_from(BATCH)?) {
        let batch = (first..vods.min(first + BATCH)).map(|number| vod(root, number, apart_ms, preview));
        catalog.merge_rebuilt(&batch.collect::<Outcome<Vec<_>>>()?)?;
    }
    Ok(())
}

/// A made-up VoD.
pub fn vod(root: &Path, number: u64, apart_ms: i64, preview: Option<&Path>) -> Outcome<VodRecord> {
    let digest = blake3::hash(&number.to_be_bytes());
    let stream = format!("room-{}", number % STREAMS);
    let name = format!("{stream}-2026-03-04_14-30-15.{number:06}.mp4");
    let now_ms = FIRST_MS + apart_ms * number.cast_signed();
    let fingerprint = json!({ "device": 2_049, "inode": 1_000_000 + number, "size_bytes": 40_000_000, "mtime_ns": now_ms * 1_000_000 });
    let track = |kind: &str, codec: &str| {
        json!({
            "kind": kind, "codec": codec, "packets": 108_000, "bytes": 30_000_000, "durationMs": 3_600_000, "startMs": 0,
            "digest": digest.to_hex().to_string(),
        })
    };
    Ok(serde_json::from_value(json!({
        "version": 1, "vodId": vod_id(&stream, &name, &[(number, *digest.as_bytes())]), "streamId": stream, "streamName": stream,
        "vodName": name, "filePath": root.join(&name), "root": root, "duration": 3_600_000, "creationDate": now_ms,
        "startTime": now_ms - 3_600_000, "startSource": "name", "fileSize": 40_000_000, "type": "streamVod", "container": "mp4",
        "tracks": [track("video", "h264"), track("audio", "aac")], "bitrate": 88_888, "outcome": "remuxed", "server": "antmedia",
        "sourcePath": root.join(&name), "source": fingerprint, "evidence": { "kind": "lease" }, "fingerprint": fingerprint, "previewFilePath": preview,
    }))?)
}
