//! What an object is given besides its bytes: content type, cache control, storage class, metadata. Pure.

use std::borrow::Cow;

use object_store::{Attribute, AttributeValue, Attributes, TagSet};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::TargetOptions;
use super::diagnose::Provider;
use crate::recording::{Asset, Container};

const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b'%');

/// Metadata name under which an object remembers which asset it is.
pub(super) const ASSET_ID: &str = "asset-id";

/// Metadata name of the CRC-64/NVME of what was sent, given where the store's own checksums cannot be trusted.
pub(super) const OWN_CHECKSUM: &str = "crc64nvme";

/// Media type by extension; what is not known travels as bytes.
pub fn content_type(key: &str) -> &'static str {
    let extension = key.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "m3u8" => "application/vnd.apple.mpegurl",
        "mpd" => "application/dash+xml",
        "m4s" | "fmp4" => "video/iso.segment",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "json" => "application/json",
        "vtt" => "text/vtt",
        "srt" | "txt" => "text/plain; charset=utf-8",
        other => Container::from_extension(other).map_or("application/octet-stream", Container::content_type),
    }
}

/// The attributes of one object of an asset.
pub(super) fn attributes(options: &TargetOptions, provider: Provider, asset: &Asset, key: &str) -> Attributes {
    let content_type = options.content_type.clone().unwrap_or_else(|| content_type(key).to_owned());
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, content_type.into());
    if let Some(cache_control) = &options.cache_control {
        attributes.insert(Attribute::CacheControl, cache_control.clone().into());
    }
    if let Some(storage_class) = &options.storage_class {
        attributes.insert(Attribute::StorageClass, storage_class.clone().into());
    }
    for (name, value) in metadata(options, asset) {
        attributes.insert(metadata_name(provider, &name), header_text(&value).into());
    }
    attributes
}

/// What an object of a finished recording says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// Id of the VoD.
    pub vod_id: String,
    /// Its stream.
    pub stream_id: String,
    /// Its duration in milliseconds, if it says one.
    pub duration_ms: Option<i64>,
    /// Whether its tables were rebuilt from media data.
    pub salvaged: bool,
}

/// Reads what [`attributes`] wrote; `None` if the object is not a finished recording of ours.
pub(super) fn description(provider: Provider, attributes: &Attributes) -> Option<ObjectAttributes> {
    let said = |name: &str| attributes.get(&metadata_name(provider, name)).map(|value| plain_text(value.as_ref()));
    let vod_id = said("vod-id").filter(|id| is_vod_id(id))?;
    // Posters carry the id of their VoD, too.
    let is_recording = said(ASSET_ID).as_deref() == Some(&vod_id);
    is_recording.then(|| ObjectAttributes {
        stream_id: said("stream-id").unwrap_or_default(),
        duration_ms: said("duration-ms").and_then(|ms| ms.parse().ok()).filter(|ms| *ms >= 0),
        salvaged: said("salvaged").as_deref() == Some("true"),
        vod_id,
    })
}

/// Digits and letters alone, as every id of ours: whoever can write to the bucket can write anything there.
fn is_vod_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn metadata(options: &TargetOptions, asset: &Asset) -> Vec<(String, String)> {
    let mut metadata: Vec<_> = options.metadata.clone().into_iter().collect();
    metadata.push(("stream-id".into(), asset.stream_id.clone()));
    metadata.push((ASSET_ID.into(), asset.id.clone()));
    metadata.extend(asset.vod_id.clone().map(|id| ("vod-id".into(), id)));
    if let Some(duration_ms) = asset.duration_ms {
        metadata.push(("duration-ms".into(), duration_ms.to_string()));
        metadata.push(("salvaged".into(), asset.salvaged.to_string()));
    }
    metadata
}

/// The same attributes as headers of Azure's Put Block List, which `object_store` does not set for uploads by ids.
pub(super) fn block_list_headers(attributes: &Attributes, tags: &TagSet) -> Vec<(String, String)> {
    let mut headers = headers(attributes, |attribute| match attribute {
        Attribute::ContentType => Some("x-ms-blob-content-type".to_owned()),
        Attribute::CacheControl => Some("x-ms-blob-cache-control".to_owned()),
        Attribute::StorageClass => Some("x-ms-access-tier".to_owned()),
        Attribute::Metadata(name) => Some(format!("x-ms-meta-{name}")),
        _ => None,
    });
    if !tags.encoded().is_empty() {
        headers.push(("x-ms-tags".to_owned(), tags.encoded().to_owned()));
    }
    headers
}

/// The same attributes as headers of Google's `compose`. What is put together has the storage class of what it is made of.
pub(super) fn compose_headers(attributes: &Attributes) -> Vec<(String, String)> {
    headers(attributes, |attribute| match attribute {
        Attribute::ContentType => Some("content-type".to_owned()),
        Attribute::CacheControl => Some("cache-control".to_owned()),
        Attribute::Metadata(name) => Some(format!("x-goog-meta-{name}")),
        _ => None,
    })
}

fn headers(attributes: &Attributes, name_of: impl Fn(&Attribute) -> Option<String>) -> Vec<(String, String)> {
    let header =
        |(attribute, value): (&Attribute, &AttributeValue)| Some((name_of(attribute)?, value.as_ref().to_owned()));
    attributes.iter().filter_map(header).collect()
}

/// The attribute that holds a metadata name; Azure takes only names that are C# identifiers.
pub(super) fn metadata_name(provider: Provider, name: &str) -> Attribute {
    let name = if provider == Provider::Azure { name.replace('-', "_") } else { name.to_owned() };
    Attribute::Metadata(Cow::Owned(name))
}

/// Metadata travels in headers, which carry visible ASCII; the rest is percent-encoded as UTF-8.
pub(super) fn header_text(text: &str) -> String {
    utf8_percent_encode(text, NOT_IN_HEADERS).to_string()
}

/// The text that [`header_text`] made a header of; what it did not make stays as it is.
fn plain_text(header: &str) -> String {
    percent_decode_str(header).decode_utf8().map_or_else(|_| header.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Kind;

    #[test]
    fn what_an_object_was_given_is_read_back() {
        let mut asset = Asset {
            id: "abc123".into(),
            kind: Kind::Recording,
            vod_id: Some("abc123".into()),
            stream_id: "Küche 100%".into(),
            root: "/r".into(),
            start_ms: 1,
            duration_ms: Some(8_000),
            salvaged: true,
            files: Vec::new(),
        };
        let options = TargetOptions::new("t", "s3://b");
        for provider in [Provider::S3, Provider::Azure, Provider::Gcs] {
            let given = attributes(&options, provider, &asset, "x.mp4");
            let expected = ObjectAttributes {
                vod_id: "abc123".into(),
                stream_id: "Küche 100%".into(),
                duration_ms: Some(8_000),
                salvaged: true,
            };
            assert_eq!(description(provider, &given), Some(expected));
        }
        let read = |asset: &Asset| description(Provider::S3, &attributes(&options, Provider::S3, asset, "x.mp4"));
        asset.id = "poster".into();
        assert_eq!(read(&asset), None, "a poster is no recording");
        (asset.id, asset.vod_id) = ("../x".into(), Some("../x".into()));
        assert_eq!(read(&asset), None, "no id of ours");
        assert_eq!(description(Provider::S3, &Attributes::new()), None);
        for text in ["%", "%4", "a%zz", "100%25 %C3", "%ff"] {
            let _ = plain_text(text);
        }
    }

    #[test]
    fn the_extension_gives_the_type() {
        for (key, expected) in [
            ("a/x.mp4", "video/mp4"),
            ("x.webm", "video/webm"),
            ("x.mkv", "video/x-matroska"),
            ("x.M3U8", "application/vnd.apple.mpegurl"),
            ("x.ts", "video/mp2t"),
            ("x.m4s", "video/iso.segment"),
            ("x.mpd", "application/dash+xml"),
            ("x.jpg", "image/jpeg"),
            ("x", "application/octet-stream"),
        ] {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }

    #[test]
    fn metadata_fits_into_headers() {
        assert_eq!(header_text("Wohnzimmer"), "Wohnzimmer");
        assert_eq!(header_text("Küche\n100%"), "K%C3%BCche%0A100%25");
        assert_eq!(metadata_name(Provider::Azure, "stream-id"), Attribute::Metadata("stream_id".into()));
    }
}
