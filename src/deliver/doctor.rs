//! Asks a target whether everything that a delivery needs is allowed: writes, reads, lists and deletes a probe object.
//!
//! It must leave nothing behind, and touch nothing but its own probe.

use std::time::SystemTime;

use object_store::{ObjectStoreExt, PutMultipartOptions, PutPayload};

use super::bucket::{Bucket, key_of};
use super::diagnose::{Cause, Provider, Verb};
use super::error::{DeliverError, Result};
use super::ledger::NullLedger;
use super::location::below;
use super::multipart::abort;
use super::target::{Target, TargetStore};
use crate::durable::{self, FileError, Partial, PartialOwner};
use crate::fault::{Fault, chain};
use crate::recording::name::printable;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCheck {
    /// What was tried: `write`, `read back`, `list`, `delete` …
    pub name: &'static str,
    /// Whether it worked.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

const PROBE_BYTES: &[u8] = b"aftercast tested its permissions here; this object can be deleted\n";

pub(super) async fn probe(target: &Target) -> Vec<TargetCheck> {
    let key = probe_key(target.place.prefix());
    match &target.store {
        TargetStore::Bucket(bucket) => probe_bucket(bucket, target.place.prefix(), &key).await,
        TargetStore::Directory(directory) => {
            let ready = directory.ensure();
            let mut checks = vec![check("directory", ready, || printable(&directory.base))];
            if checks[0].ok {
                checks.extend(probe_directory(&directory.target, &directory.path_of(&key)));
            }
            checks
        }
    }
}

/// A name that no other probe has.
fn probe_key(prefix: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {}", std::process::id(), now.as_nanos());
    let random = &blake3::hash(seed.as_bytes()).to_hex()[..16];
    let name = format!("{}probe-{random}", durable::PARTIAL_PREFIX);
    below(prefix, &name)
}

fn check(name: &'static str, result: Result<()>, detail: impl FnOnce() -> String) -> TargetCheck {
    match result {
        Ok(()) => TargetCheck { name, ok: true, detail: detail(), hint: None },
        Err(error) => TargetCheck { name, ok: false, detail: chain(&error), hint: error.hint() },
    }
}

async fn probe_bucket(bucket: &Bucket, prefix: &str, key: &str) -> Vec<TargetCheck> {
    let path = key_of(key);
    let put = bucket.backend.store.put(&path, PutPayload::from_static(PROBE_BYTES));
    let written = bucket.call(Verb::Put, key, put).await.map(drop);
    let is_written = written.is_ok();
    let mut checks = vec![check("write", written, || format!("`{key}`"))];
    let listed = bucket.lists(prefix, key).await.map(drop);
    if is_written {
        let read = bucket.read(key, PROBE_BYTES.len()).await.and_then(|bytes| same(&bucket.target, key, &bytes));
        checks.push(check("read back", read, || format!("{} bytes, equal", PROBE_BYTES.len())));
        checks.push(check("checksum", bucket.head(key).await.map(drop), || "size and entity tag reported".into()));
    }
    checks.push(check("list", listed, || format!("below `{prefix}/`")));
    checks.push(unfinished(bucket, prefix).await);
    if is_written {
        checks.push(check("upload in parts", begin_and_abort(bucket, key).await, || "started and aborted".into()));
        let conditions = bucket.honours_conditions(&NullLedger).await;
        let honoured = matches!(conditions, Ok(true));
        checks.push(check("no overwriting", conditions.map(drop), || said_of_conditions(honoured).into()));
        checks.push(check("delete", bucket.delete(key).await, || "nothing left behind".into()));
    }
    for failed in checks.iter_mut().filter(|c| !c.ok) {
        let policy = least_privilege(bucket.backend.provider);
        failed.hint = Some(format!("{} Least privilege: {policy}", failed.hint.take().unwrap_or_default()));
    }
    checks
}

async fn unfinished(bucket: &Bucket, prefix: &str) -> TargetCheck {
    let open = bucket.open_uploads(prefix).await.map(|open| open.len());
    let has_list =
        !matches!(open.as_ref().map_err(DeliverError::cause), Err(Some(Cause::NoSuchObject | Cause::NotSupported)));
    let listed = if has_list { open } else { Ok(0) };
    let said = listed.as_ref().map_or(0, |open| *open);
    check("unfinished uploads", listed.map(drop), || {
        if has_list { format!("{said} below `{prefix}/`") } else { "the store does not list them".into() }
    })
}

async fn begin_and_abort(bucket: &Bucket, key: &str) -> Result<()> {
    let path = key_of(key);
    let begin = bucket.backend.begin.create_multipart_opts(&path, PutMultipartOptions::default());
    let id = bucket.call(Verb::Put, key, begin).await?;
    abort(bucket, key, &id).await
}

const fn said_of_conditions(honoured: bool) -> &'static str {
    if honoured {
        "the store refuses to overwrite existing objects"
    } else {
        "the store ignores conditional writes; keys are checked before they are written"
    }
}

/// What a delivery needs and no more.
const fn least_privilege(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => {
            "s3:PutObject, s3:GetObject, s3:AbortMultipartUpload and s3:DeleteObject on bucket/prefix/*, s3:ListBucket and \
             s3:ListBucketMultipartUploads on the bucket."
        }
        Provider::Azure => "role Storage Blob Data Contributor on the container, or a SAS with `racwdl`.",
        Provider::Gcs => {
            "storage.objects.create, get, list, delete and storage.multipartUploads.create, abort, list on the bucket (role \
             roles/storage.objectUser)."
        }
        Provider::Disk => "read and write on the directory.",
    }
}

fn same(target: &str, key: &str, bytes: &[u8]) -> Result<()> {
    if bytes == PROBE_BYTES {
        return Ok(());
    }
    Err(DeliverError::Mismatch {
        target: target.to_owned(),
        key: key.to_owned(),
        what: "the size",
        ours: PROBE_BYTES.len().to_string(),
        theirs: bytes.len().to_string(),
    })
}

fn probe_directory(target: &str, path: &std::path::Path) -> Vec<TargetCheck> {
    let failed = |verb| move |e| DeliverError::disk(target)(FileError::on(verb, path)(e));
    let written =
        Partial::create(path, &PartialOwner::of_process()).map_err(DeliverError::disk(target)).and_then(|partial| {
            std::fs::write(partial.path(), PROBE_BYTES).map_err(failed("write"))?;
            let read = std::fs::read(partial.path()).map_err(failed("read"))?;
            same(target, &path.to_string_lossy(), &read)
        });
    let free = durable::free_bytes(path.parent().unwrap_or(path)).unwrap_or_default();
    vec![check("write and read back", written, || format!("{} MiB free", free / (1024 * 1024)))]
}
