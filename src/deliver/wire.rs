//! The requests that `object_store` does not make: unfinished multipart uploads of a bucket.
//!
//! S3 and Google's XML interface answer alike. Azure has no such list: its uncommitted blocks go by themselves after a
//! week.

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;

use super::bucket::tag;

/// A multipart upload that was begun and neither ended nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The key it would have.
    pub key: String,
    /// The store's id.
    pub upload_id: String,
    /// When it was begun, in the store's words.
    pub begun: String,
}

/// A bucket's own address and who may talk to it.
pub(super) struct Wire {
    pub client: HttpClient,
    /// Address of the bucket, without a trailing slash.
    pub bucket: String,
    pub keys: Keys,
}

/// What a request is signed with.
pub(super) enum Keys {
    Aws {
        credentials: AwsCredentialProvider,
        region: String,
    },
    Google(GcpCredentialProvider),
    /// The store asks for none.
    None,
}

impl Wire {
    /// The open uploads whose keys begin with a prefix.
    pub async fn open_uploads(&self, prefix: &str) -> object_store::Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        loop {
            let mut query = format!("uploads=&prefix={}", encoded(prefix));
            for (name, marker) in [("key-marker", &key_marker), ("upload-id-marker", &id_marker)] {
                if !marker.is_empty() {
                    query.extend(["&", name, "=", &encoded(marker)]);
                }
            }
            let page = self.get(&query).await?;
            found.extend(uploads_in(&page).filter(|u| u.key.starts_with(prefix)));
            key_marker = tag(&page, "NextKeyMarker").map(|m| unescaped(&m)).unwrap_or_default();
            id_marker = tag(&page, "NextUploadIdMarker").map(|m| unescaped(&m)).unwrap_or_default();
            if tag(&page, "IsTruncated").as_deref() != Some("true") || key_marker.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn get(&self, query: &str) -> object_store::Result<String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let address = format!("{}/?{query}", self.bucket);
        *request.uri_mut() = address.parse().map_err(|e| failed(format!("`{address}`: {e}")))?;
        match &self.keys {
            Keys::Aws { credentials, region } => {
                let credential = credentials.get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None)?;
            }
            Keys::Google(credentials) => {
                let bearer = credentials.get_credential().await?;
                if let Ok(value) = format!("Bearer {}", bearer.bearer).parse() {
                    request.headers_mut().insert("authorization", value);
                }
            }
            Keys::None => {}
        }
        let answer = self
            .client
            .execute(request)
            .await
            .map_err(|e| object_store::Error::Generic { store: "uploads", source: Box::new(e) })?;
        let status = answer.status();
        let body = answer.into_body().bytes().await.map_err(|e| failed(crate::fault::chain(&e)))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() { Ok(text) } else { Err(failed(format!("{status}: {text}"))) }
    }
}

fn failed(words: String) -> object_store::Error {
    object_store::Error::Generic { store: "uploads", source: words.into() }
}

fn uploads_in(page: &str) -> impl Iterator<Item = OpenUpload> + '_ {
    page.split("<Upload>").skip(1).filter_map(|upload| {
        let text = |name| tag(upload, name).map(|t| unescaped(&t));
        Some(OpenUpload {
            key: text("Key")?,
            upload_id: text("UploadId")?,
            begun: text("Initiated").unwrap_or_default(),
        })
    })
}

fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut said, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            said.push(char::from(byte));
        } else {
            let _ = write!(said, "%{byte:02X}");
        }
        said
    })
}

/// XML's five entities and numbers.
fn unescaped(text: &str) -> String {
    let mut said = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        said.push_str(before);
        let entity = after.split_once(';').filter(|(name, _)| name.len() < 10 && !name.contains(' '));
        let Some((name, behind)) = entity else {
            said.push('&');
            rest = after;
            continue;
        };
        let number = name.strip_prefix("#x").map(|n| u32::from_str_radix(n, 16).ok());
        let number = number.or_else(|| name.strip_prefix('#').map(|n| n.parse().ok()));
        said.extend(match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => number.flatten().and_then(char::from_u32),
        });
        rest = behind;
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_read_out_of_a_page() {
        let page = "<ListMultipartUploadsResult><Prefix>p</Prefix><IsTruncated>false</IsTruncated>\
            <Upload><Key>p/a &amp; b&#x2F;x.mp4</Key><UploadId>1~z</UploadId><Initiated>2026-01-02</Initiated></Upload>\
            <Upload><Key>p/y</Key></Upload></ListMultipartUploadsResult>";
        let uploads: Vec<_> = uploads_in(page).collect();
        let expected = OpenUpload { key: "p/a & b/x.mp4".into(), upload_id: "1~z".into(), begun: "2026-01-02".into() };
        assert_eq!(uploads, [expected]);
        assert_eq!(encoded("a/ü+"), "a%2F%C3%BC%2B");
        assert_eq!(unescaped("a & b &lt;"), "a & b <");
    }
}
