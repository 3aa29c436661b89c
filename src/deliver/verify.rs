//! Looks again at what a delivery proved: size, entity tag and checksum as the store reports them now, or the bytes
//! themselves.

use futures::StreamExt;
use object_store::ObjectStoreExt;

use super::bucket::{Bucket, key_of};
use super::checksum::{ChecksumHasher, ReportedChecksum};
use super::diagnose::Verb;
use super::directory::DirectoryTarget;
use super::error::Result;
use super::limits::reading;
use super::target::RemoteState;
use super::transfer::UploadContext;
use crate::recording::RemoteObject;

/// What differs between a proof and the object as its store reports it; `None` if nothing does.
pub(super) fn difference(now: Option<&RemoteState>, proven: &RemoteObject) -> Option<String> {
    let Some(now) = now else { return Some("it is missing".into()) };
    if now.size_bytes != proven.size_bytes {
        return Some(format!("it has {} bytes, expected {}", now.size_bytes, proven.size_bytes));
    }
    if now.agrees_with(proven) {
        return None;
    }
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    match (&now.checksum, &proven.checksum) {
        (Some(theirs), Some(ours)) if theirs != ours && algorithm(theirs) == algorithm(ours) => {
            Some(format!("its checksum is {theirs}, expected {ours}"))
        }
        _ if now.etag.is_none() || proven.etag.is_none() => {
            Some(format!("its version is {}, expected {}", said(&now.version), said(&proven.version)))
        }
        _ => Some(format!("its entity tag is {}, expected {}", said(&now.etag), said(&proven.etag))),
    }
}

pub(super) fn algorithm(checksum: &str) -> &str {
    checksum.split(':').next().unwrap_or_default()
}

/// The checksum that can be made from a whole object's bytes alone; those made of parts cannot.
fn asked_of(proven: &RemoteObject) -> Option<(ReportedChecksum, String)> {
    let (algorithm, value) = proven.checksum.as_ref()?.split_once(':')?;
    let value = value.to_owned();
    let report = match algorithm {
        "crc64nvme" | "crc64nvme-by-part" => ReportedChecksum::Crc64Nvme(value.clone()),
        "crc32c" => ReportedChecksum::Crc32c(value.clone()),
        "md5" => ReportedChecksum::Md5(value.clone()),
        "sha256" => ReportedChecksum::Sha256(value.clone()),
        _ => return None,
    };
    Some((report, value))
}

/// Reads an object of a bucket and compares its bytes with the proof.
pub(super) async fn read_bucket(
    bucket: &Bucket,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
) -> Result<Option<String>> {
    let asked = asked_of(proven);
    let mut hasher = asked.as_ref().map(|(report, _)| ChecksumHasher::for_report(report));
    let mut read_bytes = 0u64;
    let key = key_of(&proven.key);
    let get = reading(key.as_ref(), proven.size_bytes, bucket.backend.store.get(&key));
    let mut stream = bucket.call(Verb::Get, &proven.key, get).await?.into_stream();
    while let Some(piece) = stream.next().await {
        ctx.check()?;
        let piece = piece.map_err(|e| bucket.fault(Verb::Get, &proven.key, e, None))?;
        if let Some(hasher) = &mut hasher {
            hasher.update(&piece);
        }
        read_bytes += piece.len() as u64;
        if read_bytes > proven.size_bytes {
            return Ok(Some(format!("its content is longer than the expected {} bytes", proven.size_bytes)));
        }
    }
    if read_bytes != proven.size_bytes {
        return Ok(Some(format!("its content has {read_bytes} bytes, expected {}", proven.size_bytes)));
    }
    let (Some(hasher), Some((_, ours))) = (hasher, asked) else { return Ok(None) };
    let sums = hasher.finish(read_bytes);
    let theirs = sums.crc64nvme.or(sums.crc32c).or(sums.md5).or(sums.sha256).unwrap_or_default();
    Ok((theirs != ours).then(|| format!("the checksum of its content is {theirs}, expected {ours}")))
}

/// Reads a file of a directory and compares its bytes with the proof.
pub(super) fn read_directory(
    directory: &DirectoryTarget,
    proven: &RemoteObject,
    ctx: &UploadContext<'_>,
) -> Result<Option<String>> {
    let theirs = format!("blake3:{}", directory.digest(&directory.path_of(&proven.key), ctx)?);
    let ours = proven.checksum.as_ref().filter(|ours| algorithm(ours) == "blake3");
    Ok(ours
        .filter(|ours| **ours != theirs)
        .map(|ours| format!("the checksum of its content is {theirs}, expected {ours}")))
}
