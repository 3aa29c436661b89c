//! A bucket in this process's memory: for trying out what delivers without a server.
//!
//! It confirms no checksum of what it holds, so that nothing is ever freed on its word; a configuration cannot name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{Attribute, ObjectStoreExt};

use super::TargetOptions;
use super::backend::Backend;
use super::bucket::{Bucket, key_of};
use super::conditions::ConditionSupport;
use super::error::{DeliverError, Result};
use super::location::TargetLocation;
use super::tags::TagSupport;
use super::target::{Target, TargetStore, Targets};
use crate::runtime::Runtime;

/// A bucket in memory; clones are the same bucket.
#[derive(Debug, Clone, Default)]
pub struct MemoryBucket(pub(super) Arc<InMemory>);

/// An object of such a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryObject {
    /// Its content.
    pub bytes: Vec<u8>,
    /// What it was given besides: `content-type`, `cache-control`, and the metadata by their names.
    pub headers: BTreeMap<String, String>,
}

impl MemoryBucket {
    /// What stands under a key; `None` if nothing does.
    pub fn object(&self, key: &str) -> Option<MemoryObject> {
        let look = async {
            let found = self.0.get(&key_of(key)).await?;
            let headers = found.attributes.iter().filter_map(|(name, value)| {
                let name = match name {
                    Attribute::ContentType => "content-type",
                    Attribute::CacheControl => "cache-control",
                    Attribute::Metadata(name) => name,
                    _ => return None,
                };
                Some((name.to_owned(), value.as_ref().to_owned()))
            });
            let headers = headers.collect();
            Ok::<_, object_store::Error>(MemoryObject { headers, bytes: found.bytes().await?.into() })
        };
        futures::executor::block_on(look).ok()
    }
}

impl Targets {
    /// One target whose objects are kept in memory. Its `url` says under which prefix, in the form `s3://BUCKET/PREFIX`; what
    /// it says of endpoint, credentials and bandwidth means nothing here.
    pub fn in_memory(options: &TargetOptions, bucket: &MemoryBucket, runtime: &Runtime) -> Result<Self> {
        let place = TargetLocation::parse(options)?;
        if let TargetLocation::Directory(_) = place {
            let problem = "a directory is not kept in memory";
            return Err(DeliverError::configuration(&options.name, problem, "Write s3://bucket/prefix."));
        }
        let backend = Backend::in_memory(options, &bucket.0);
        let store = Bucket {
            target: options.name.clone(),
            backend,
            conditions: ConditionSupport::default(),
            tags: TagSupport::default(),
        };
        Self::with(Target::new(options.clone(), 0, place, TargetStore::Bucket(Box::new(store))), runtime)
    }
}
