//! The requests that `object_store` does not make: unfinished multipart uploads of a bucket.
//!
//! S3 and Google's XML interface answer alike. Azure has no such list: its uncommitted blocks go by themselves after a
//! week.

use std::fmt::{Display, Write as _};

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::xml::{elements, text_of};

/// All but the unreserved characters of RFC 3986 §2.3: what signatures are computed over.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

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
pub(super) struct BucketClient {
    pub client: HttpClient,
    /// Address of the bucket, without a trailing slash.
    pub bucket: String,
    pub keys: SigningKeys,
}

/// What a request is signed with.
pub(super) enum SigningKeys {
    Aws {
        credentials: AwsCredentialProvider,
        region: String,
    },
    Google(GcpCredentialProvider),
    /// The store asks for none.
    None,
}

impl BucketClient {
    /// Whether the store asks for no credentials.
    pub const fn is_open(&self) -> bool {
        matches!(self.keys, SigningKeys::None)
    }

    /// The open uploads whose keys begin with a prefix.
    pub async fn open_uploads(&self, prefix: &str) -> object_store::Result<Vec<OpenUpload>> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        loop {
            let mut query = format!("uploads=&prefix={}", encoded(prefix));
            for (name, marker) in [("key-marker", &key_marker), ("upload-id-marker", &id_marker)] {
                if !marker.is_empty() {
                    let _ = write!(query, "&{name}={}", encoded(marker));
                }
            }
            let page = self.get(&query).await?;
            found.extend(uploads_in(&page).filter(|u| u.key.starts_with(prefix)));
            key_marker = text_of(&page, "NextKeyMarker").unwrap_or_default();
            id_marker = text_of(&page, "NextUploadIdMarker").unwrap_or_default();
            if text_of(&page, "IsTruncated").as_deref() != Some("true") || key_marker.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn get(&self, query: &str) -> object_store::Result<String> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let address = format!("{}/?{query}", self.bucket);
        *request.uri_mut() = address.parse().map_err(|e| failed(format!("`{address}`: {e}")))?;
        match &self.keys {
            SigningKeys::Aws { credentials, region } => {
                let credential = credentials.get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", region).try_authorize(&mut request, None)?;
            }
            SigningKeys::Google(credentials) => {
                let bearer = credentials.get_credential().await?;
                if let Ok(value) = format!("Bearer {}", bearer.bearer).parse() {
                    request.headers_mut().insert("authorization", value);
                }
            }
            SigningKeys::None => {}
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

fn uploads_in(page: &str) -> impl Iterator<Item = OpenUpload> {
    elements(page, "Upload").filter_map(|upload| {
        Some(OpenUpload {
            key: text_of(&upload, "Key")?,
            upload_id: text_of(&upload, "UploadId")?,
            begun: text_of(&upload, "Initiated").unwrap_or_default(),
        })
    })
}

fn encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, RESERVED)
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
        assert_eq!(encoded("a/ü+").to_string(), "a%2F%C3%BC%2B");
    }
}
