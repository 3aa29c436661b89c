//! Addresses under which others can read an object for a while.

use std::path::PathBuf;
use std::time::Duration;

use object_store::signer::{Method, SignedUrlOptions, Signer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::bucket::{Bucket, key_of};
use super::diagnose::Verb;
use super::error::Result;
use super::location::answered_for;
use super::target::{Target, TargetStore, Targets};
use super::wire::BucketClient;
use crate::recording::RemoteObject;

/// How long signing may take: some identities ask a server for it.
const PATIENCE: Duration = Duration::from_secs(10);
const IN_KEYS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const IN_PARAMETERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where an object can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// By HTTP under this address: presigned where the credentials can sign, else the object's own.
    Url(String),
    /// In this file, of a target that is a directory.
    File(PathBuf),
}

/// What an address is for.
#[derive(Debug, Clone, Copy)]
pub struct LinkOptions<'a> {
    /// How long it is to be valid.
    pub valid: Duration,
    /// Whether only the head of the answer is wanted: a signature holds for one method.
    pub wants_head: bool,
    /// The name of a download, where the store can be made to say one.
    pub download_name: Option<&'a str>,
}

impl Target {
    /// The place of a key that others who share the store may have, too; none in a directory, which is on this machine.
    pub fn shared_place(&self, key: &str) -> Option<String> {
        let is_bucket = matches!(self.store, TargetStore::Bucket(_));
        is_bucket.then(|| answered_for(self.options.endpoint.as_deref(), &self.place.url_of(key)))
    }
}

impl Targets {
    /// Whether an object that another node says that it delivered lies in the target of the same name here: in the same bucket and below
    /// the same prefix. Nothing else of a bucket is shown to anybody on the word of another node.
    pub fn reaches(&self, object: &RemoteObject) -> bool {
        self.find(&object.target).is_ok_and(|target| {
            target.place.url_of(&object.key) == object.url && is_below(target.place.prefix(), &object.key)
        })
    }

    /// The place of an object that others who share its store may have, too; none in a directory, which is on this machine.
    pub fn shared_place(&self, object: &RemoteObject) -> Option<String> {
        self.find(&object.target).ok()?.shared_place(&object.key)
    }

    /// An address of an object for a reader. The object is not asked for.
    pub fn link(&self, object: &RemoteObject, reader: &LinkOptions<'_>) -> Result<Link> {
        match &self.find(&object.target)?.store {
            TargetStore::Directory(directory) => Ok(Link::File(directory.path_of(&object.key))),
            TargetStore::Bucket(bucket) => self.network.until_stopped(async {
                let signed = tokio::time::timeout(PATIENCE, bucket.link(&object.key, reader)).await;
                signed.unwrap_or_else(|_| Ok(bucket.own_url(&object.key))).map(Link::Url)
            }),
        }
    }
}

/// Whether a key is that of an object below a prefix, and stays there for whoever reads it as a path.
fn is_below(prefix: &str, key: &str) -> bool {
    let rest =
        if prefix.is_empty() { Some(key) } else { key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) };
    rest.is_some_and(|rest| !rest.split('/').any(|name| matches!(name, "" | "." | "..")))
}

impl Bucket {
    async fn link(&self, key: &str, reader: &LinkOptions<'_>) -> Result<String> {
        let is_open = self.backend.wire.as_deref().is_some_and(BucketClient::is_open);
        let Some(signer) = self.backend.signer.as_deref().filter(|_| !is_open) else { return Ok(self.own_url(key)) };
        match signed(signer, key, reader).await {
            Ok(url) => Ok(url),
            // Not every identity can sign; a bucket that is public needs no signature.
            Err(error) if self.backend.wire.is_some() => {
                tracing::debug!(target = %self.target, error = crate::fault::chain(&error), "URL not presigned");
                Ok(self.own_url(key))
            }
            Err(error) => Err(self.fault(Verb::Get, key, error, None)),
        }
    }

    /// The address of an object without a signature.
    fn own_url(&self, key: &str) -> String {
        let bucket = self.backend.wire.as_deref().map(|wire| wire.bucket.as_str()).unwrap_or_default();
        format!("{bucket}/{}", utf8_percent_encode(key, IN_KEYS))
    }
}

async fn signed(signer: &dyn Signer, key: &str, reader: &LinkOptions<'_>) -> object_store::Result<String> {
    let (key, method) = (key_of(key), if reader.wants_head { Method::HEAD } else { Method::GET });
    if let Some(name) = reader.download_name {
        let name = utf8_percent_encode(name, IN_PARAMETERS);
        let disposition = format!("attachment; filename*=UTF-8''{name}");
        let options = SignedUrlOptions::new().with_query([("response-content-disposition", disposition)]);
        match signer.signed_url_opts(method.clone(), &key, reader.valid, &options).await {
            Ok(url) => return Ok(url.into()),
            Err(error) => tracing::debug!(error = crate::fault::chain(&error), "presigned without a name"),
        }
    }
    Ok(signer.signed_url(method, &key, reader.valid).await?.into())
}

#[cfg(test)]
mod tests {
    use object_store::aws::AmazonS3Builder;

    use super::*;

    #[test]
    fn a_key_of_another_node_is_one_below_the_prefix() {
        for (prefix, key) in [("vods", "vods/a/x.mp4"), ("", "a/x.mp4"), ("", "x.mp4")] {
            assert!(is_below(prefix, key), "{prefix} {key}");
        }
        let outside =
            ["secret", "vodsecret/x", "vods", "vods/", "vods//x", "vods/../secret", "vods/a/./x", "/vods/x", ""];
        assert!(outside.iter().all(|key| !is_below("vods", key)));
        assert!(["", "/x", "../x", "a/../x"].iter().all(|key| !is_below("", key)));
    }

    #[tokio::test]
    async fn a_signature_is_for_a_method_and_a_while_and_may_name_a_download() {
        let builder = AmazonS3Builder::new().with_bucket_name("vods").with_region("eu-west-1");
        let store = builder.with_access_key_id("key").with_secret_access_key("hush").build().unwrap();
        let link = |wants_head, download_name| {
            let (store, valid) = (&store, Duration::from_secs(60));
            async move { signed(store, "live/ä b.mp4", &LinkOptions { valid, wants_head, download_name }).await.unwrap() }
        };
        let plain = link(false, None).await;
        assert!(plain.contains("/live/%C3%A4%20b.mp4?") && plain.contains("X-Amz-Expires=60"), "{plain}");
        assert!(!plain.contains("hush"));
        assert_ne!(link(true, None).await.split("Signature=").nth(1), plain.split("Signature=").nth(1));
        let named = link(false, Some("ä b.mp4")).await;
        assert!(named.contains("response-content-disposition=attachment"), "{named}");
    }
}
