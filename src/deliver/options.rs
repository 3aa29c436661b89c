//! What an operator can set about delivery.

use std::collections::BTreeMap;
use std::time::Duration;

pub use super::bandwidth::Bandwidth;
use crate::recording::{KeyPattern, Kinds};

/// Settings of `[deliver]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeliverOptions {
    /// `uploadExtensionsToS3`: which kinds of files are uploaded, to every store. Default 7.
    pub upload_extensions: Kinds,
    /// Where they go.
    pub targets: Vec<TargetOptions>,
    /// Uploads at once over all targets, of which each leaves one to every other; 0 means 4 to each. Each above 4 may take
    /// 8 MiB of memory in every target. Default 0.
    pub concurrency: usize,
}

/// One `[[deliver.target]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetOptions {
    /// Its name in records, logs and commands.
    pub name: String,
    /// `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix` or `file:///path`.
    pub url: String,
    /// Whether "delivered" needs this target. Default true.
    pub required: bool,
    /// Key pattern below the prefix. Default `{path}`.
    pub key: KeyPattern,
    /// Endpoint of an S3 compatible store or emulator, with its scheme.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` where an endpoint is given and nothing else is known.
    pub region: Option<String>,
    /// Whether the bucket goes into the path instead of the host name. Default true with an endpoint.
    pub path_style: Option<bool>,
    /// Storage class or access tier of new objects.
    pub storage_class: Option<String>,
    /// `Cache-Control` of new objects.
    pub cache_control: Option<String>,
    /// Overrides the content type that follows from the extension.
    pub content_type: Option<String>,
    /// User metadata of new objects.
    pub metadata: BTreeMap<String, String>,
    /// Tags of new objects (S3 and Azure).
    pub tags: BTreeMap<String, String>,
    /// Encryption by the store with keys of its own choice (S3).
    pub encryption: Encryption,
    /// Canned ACL of new objects (S3); not said unless it is set.
    pub acl: Option<String>,
    /// How the store's copy is compared with what was read (S3). Default `auto`.
    pub checksum: ChecksumMode,
    /// Parts of a file, or files of a directory, on the way at once, with memory for as many parts; 0 means 4, and no more
    /// parts than 32 MiB hold. Default 0.
    pub concurrency: usize,
    /// Bytes of a part, 5 MiB to 5 GiB; larger where 10,000 parts would not do. Default 8 MiB.
    pub part_bytes: u64,
    /// Limit on what is sent. Default none.
    pub bandwidth: Option<Bandwidth>,
    /// How long no byte may move before a request counts as lost. Default 60 s.
    pub stall_timeout: Duration,
    /// Environment variable or file to take the credentials from instead of the cloud's own chain:
    /// `{ access_key_id_file = "…", secret_access_key_file = "…" }`. Values are never kept here.
    pub credential_files: BTreeMap<String, std::path::PathBuf>,
}

impl TargetOptions {
    /// A target with everything else at its default.
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            required: true,
            key: KeyPattern::default(),
            endpoint: None,
            region: None,
            path_style: None,
            storage_class: None,
            cache_control: None,
            content_type: None,
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            encryption: Encryption::default(),
            acl: None,
            checksum: ChecksumMode::default(),
            concurrency: 0,
            part_bytes: super::parts::PART_MIN_BYTES,
            bandwidth: None,
            stall_timeout: Duration::from_secs(60),
            credential_files: BTreeMap::new(),
        }
    }
}

/// Parts or files on the way at once where the target does not say.
const AT_ONCE: usize = 4;

impl TargetOptions {
    /// Parts of a file, or files of a directory, on the way at once.
    pub const fn at_once(&self) -> usize {
        if self.concurrency == 0 { AT_ONCE } else { self.concurrency }
    }
}

/// Server-side encryption of new objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// What the bucket does by itself.
    #[default]
    Bucket,
    /// SSE-S3: keys that the store manages.
    Store,
    /// SSE-KMS, with the account's own key or a named one.
    Kms(Option<String>),
}

/// How a store's copy is compared with what was read from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumMode {
    /// CRC-64/NVME, and what else the store reports.
    #[default]
    Auto,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-256 of every part.
    Sha256,
    /// The entity tag, where it is made of MD5.
    Md5,
    /// Nothing but the size: such a copy never frees a local file unless `accept_size_only`.
    None,
}
