//! Buckets in memory, by name, for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aftercast::deliver::{MemoryBucket, TargetOptions};

static BUCKETS: Mutex<BTreeMap<String, MemoryBucket>> = Mutex::new(BTreeMap::new());

/// A target in such a bucket, under the prefix `pre`.
pub fn target(name: &str) -> TargetOptions {
    TargetOptions::new("cloud", &format!("memory://{name}/pre"))
}

/// The bucket of a target, and the target as [`aftercast::deliver::Targets::in_memory`] wants it; `None` for any other.
pub fn bucket_of(options: &TargetOptions) -> Option<(MemoryBucket, TargetOptions)> {
    let rest = options.url.strip_prefix("memory://")?;
    let bucket = BUCKETS.lock().unwrap().entry(rest.to_owned()).or_default().clone();
    Some((bucket, TargetOptions { url: format!("s3://{rest}"), ..options.clone() }))
}
