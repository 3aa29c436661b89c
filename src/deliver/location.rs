//! Reads a target's URL: which store, which bucket, which prefix. Pure.

use std::path::PathBuf;

use url::Url;

use super::TargetOptions;
use super::diagnose::Provider;
use super::error::{DeliverError, Result};

/// A key below a prefix, which may be empty.
pub(super) fn below(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// What an answer of a store that is remembered holds for: endpoint, bucket and prefix.
pub(super) fn answered_for(endpoint: Option<&str>, url: &str) -> String {
    format!("{} {url}", endpoint.unwrap_or_default())
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetLocation {
    /// A bucket or container and a prefix below it, without slashes at its ends.
    Bucket {
        /// Which family of stores.
        provider: Provider,
        /// Bucket or container.
        bucket: String,
        /// Prefix of every key.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

const FORMS: &str = "Write s3://bucket/prefix, az://container/prefix, gs://bucket/prefix or file:///path.";

impl TargetLocation {
    /// Reads a target's `url`. Nothing but the place may be in it: settings and secrets are refused.
    pub fn parse(options: &TargetOptions) -> Result<Self> {
        let wrong = |problem: &str| DeliverError::configuration(&options.name, format!("`url`: {problem}"), FORMS);
        let (scheme, rest) = options.url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        if let "file" = scheme {
            let is_absolute = rest.starts_with('/');
            return if is_absolute {
                Ok(Self::Directory(rest.into()))
            } else {
                Err(wrong("the path must be absolute"))
            };
        }
        let provider = match scheme {
            "s3" => Provider::S3,
            "az" => Provider::Azure,
            "gs" => Provider::Gcs,
            _ => return Err(wrong("unknown scheme")),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_plain) {
            return Err(wrong("the bucket name is missing or has invalid characters"));
        }
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(Self::Bucket { provider, bucket: bucket.to_owned(), prefix })
    }

    /// Prefix of every key; nothing for a directory.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Bucket { prefix, .. } => prefix,
            Self::Directory(_) => "",
        }
    }

    /// The address of an object, without anything secret.
    pub fn url_of(&self, key: &str) -> String {
        match self {
            Self::Bucket { provider, bucket, .. } => {
                let scheme = match provider {
                    Provider::S3 => "s3",
                    Provider::Azure => "az",
                    Provider::Gcs => "gs",
                    Provider::Disk => "file",
                };
                format!("{scheme}://{bucket}/{key}")
            }
            Self::Directory(base) => format!("file://{}", base.join(key).to_string_lossy()),
        }
    }
}

/// Reads an endpoint: `http` or `https`, a host, no secret; without a trailing slash.
pub(super) fn endpoint(target: &str, text: &str) -> Result<Url> {
    let wrong = |problem: &str| {
        DeliverError::configuration(
            target,
            format!("`endpoint`: {problem}"),
            "Write it with its scheme, such as https://minio.example.org:9000.",
        )
    };
    let url = Url::parse(text).map_err(|_| wrong("it is not a URL with a scheme"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("it must not contain credentials"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<TargetLocation> {
        TargetLocation::parse(&TargetOptions::new("t", url))
    }

    #[test]
    fn every_scheme_gives_its_place() {
        let place = parse("s3://bucket/a/b/").unwrap();
        assert_eq!(
            place,
            TargetLocation::Bucket { provider: Provider::S3, bucket: "bucket".into(), prefix: "a/b".into() }
        );
        assert_eq!(place.url_of("a/b/x.mp4"), "s3://bucket/a/b/x.mp4");
        assert_eq!(parse("gs://b").unwrap().prefix(), "");
        assert_eq!(parse("file:///srv/vods").unwrap(), TargetLocation::Directory("/srv/vods".into()));
        assert_eq!(parse("file:///srv/vods").unwrap().url_of("x.mp4"), "file:///srv/vods/x.mp4");
        assert!(matches!(parse("az://c/p"), Ok(TargetLocation::Bucket { provider: Provider::Azure, .. })));
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_forms() {
        for url in ["bucket", "ftp://x/y", "s3://", "s3://key:secret@bucket/x", "file://relative/x", "s3:///x"] {
            let error = parse(url).unwrap_err();
            assert!(error.is_configuration(), "{url}");
            assert!(crate::fault::Fault::hint(&error).unwrap().contains("s3://bucket/prefix"));
        }
        assert!(!parse("s3://key:secret@bucket/x").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn an_endpoint_needs_its_scheme() {
        assert!(endpoint("t", "https://minio.example.org:9000").is_ok());
        for text in ["127.0.0.1:9100", "localhost:9000", "minio", "ftp://x", "http://", "http://a:b@host"] {
            assert!(endpoint("t", text).unwrap_err().is_configuration(), "{text}");
        }
    }
}
