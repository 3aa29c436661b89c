//! Pages of a listing with keys as the store has them: `object_store` refuses a page in which one key has an empty part, `.` or `..`.
//!
//! S3 and Google's XML interface answer alike (`ListObjectsV2`), and their tokens go on where the other kind of page has ended.

use std::fmt::Write as _;

use super::wire::{BucketClient, encoded, failed};
use super::xml::{elements, exact_text_of, text_of};

/// What a page is asked for with.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawQuery<'a> {
    pub prefix: &'a str,
    /// What lies in directories is left out that end with this.
    pub delimiter: Option<&'a str>,
    /// What the page before ended with.
    pub token: Option<&'a str>,
    pub most: usize,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawObject {
    pub key: String,
    pub size_bytes: u64,
    pub etag: Option<String>,
    pub modified_ms: i64,
}

impl BucketClient {
    /// A page of objects, and what the next one begins with.
    pub async fn raw_page(&self, query: RawQuery<'_>) -> object_store::Result<(Vec<RawObject>, Option<String>)> {
        let RawQuery { prefix, delimiter, token, most } = query;
        let mut text = format!("list-type=2&max-keys={most}&prefix={}", encoded(prefix));
        for (name, value) in [("continuation-token", token), ("delimiter", delimiter)] {
            if let Some(value) = value {
                let _ = write!(text, "&{name}={}", encoded(value));
            }
        }
        let page = self.get(&text).await?;
        let objects = objects_in(&page)
            .collect::<Result<_, _>>()
            .map_err(|key| failed(format!("an entry of the listing cannot be read: {key}")))?;
        Ok((objects, text_of(&page, "NextContinuationToken").filter(|token| !token.is_empty())))
    }
}

/// The objects of a page; the key of an entry that cannot be read, so that no object is left out silently.
fn objects_in(page: &str) -> impl Iterator<Item = Result<RawObject, String>> {
    elements(page, "Contents").map(|object| {
        let read = || {
            let modified: jiff::Timestamp = text_of(&object, "LastModified")?.parse().ok()?;
            Some(RawObject {
                key: exact_text_of(&object, "Key")?,
                size_bytes: text_of(&object, "Size")?.parse().ok()?,
                etag: text_of(&object, "ETag").filter(|etag| !etag.is_empty()),
                modified_ms: modified.as_millisecond(),
            })
        };
        read().ok_or_else(|| exact_text_of(&object, "Key").unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are() {
        let page = "<ListBucketResult><Name>b</Name><Contents><Key>a//x &amp; y.mp4 </Key><LastModified>2026-03-04T14:30:15.250Z</LastModified>\
            <ETag>&quot;0a&quot;</ETag><Size>17</Size></Contents><Contents><Key>../z</Key><LastModified>2026-03-04T14:30:15Z</LastModified>\
            <Size>1</Size></Contents><CommonPrefixes><Prefix>a//</Prefix></CommonPrefixes></ListBucketResult>";
        let object = |key: &str, size_bytes, etag: Option<&str>, modified_ms| RawObject {
            key: key.to_owned(),
            size_bytes,
            etag: etag.map(str::to_owned),
            modified_ms,
        };
        let expected = [
            object("a//x & y.mp4 ", 17, Some("\"0a\""), 1_772_634_615_250),
            object("../z", 1, None, 1_772_634_615_000),
        ];
        assert_eq!(objects_in(page).collect::<Result<Vec<_>, _>>().unwrap(), expected);
        let unreadable = page.replace("<Size>1</Size>", "<Size>one</Size>");
        assert_eq!(objects_in(&unreadable).collect::<Result<Vec<_>, _>>().unwrap_err(), "../z");
    }
}
