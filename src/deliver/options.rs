//! What an operator can set about delivery.

use std::collections::BTreeMap;

use crate::recording::{KeyPattern, Kinds};

/// Settings of `[deliver]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// `uploadExtensionsToS3`: which kinds of files are uploaded, to every store. Default 7.
    pub upload_extensions: Kinds,
    /// Where they go.
    pub targets: Vec<TargetOptions>,
    /// Uploads at once over all targets; 0 means 4. Default 0.
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
            credential_files: BTreeMap::new(),
        }
    }
}
