//! The requests that `object_store` does not make: unfinished multipart uploads of a bucket, parts that the store copies itself, objects
//! that it puts together, and removing an object only as it was seen.
//!
//! S3 and Google's XML interface answer alike. Azure has no such list: its uncommitted blocks go by themselves after a
//! week; its own requests are in [`blocks`](super::blocks).

use std::fmt::{Display, Write as _};
use std::ops::Range;

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::escape;
use reqwest::header::HeaderName;

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
    /// Name of the bucket.
    pub name: String,
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

    pub(super) async fn get(&self, query: &str) -> object_store::Result<String> {
        self.send(request_of("GET", &format!("{}/", self.bucket), query)?).await
    }

    /// Has the store copy a range of an object of this bucket into a part of an upload (S3 `UploadPartCopy`); returns the part's
    /// entity tag. It fails with a precondition if the object has another entity tag by now.
    pub async fn copy_part(&self, part: &CopiedPart<'_>) -> object_store::Result<String> {
        let CopiedPart { key, upload_id, number, source, range, etag } = part;
        let query = format!("partNumber={number}&uploadId={}", encoded(upload_id));
        let mut request = self.of_object("PUT", key, &query)?;
        with_header(&mut request, "x-amz-copy-source", &format!("/{}/{}", self.name, encoded_key(source)))?;
        with_header(&mut request, "x-amz-copy-source-range", &format!("bytes={}-{}", range.start, range.end - 1))?;
        if let Some(etag) = etag {
            with_header(&mut request, "x-amz-copy-source-if-match", etag)?;
        }
        let said = self.send(request).await?;
        // A copy may fail after the store has begun to answer with 200.
        text_of(&said, "ETag").filter(|tag| !tag.is_empty()).ok_or_else(|| failed(said))
    }

    /// Removes an object if it still has an entity tag (S3 and Google, `If-Match`).
    pub async fn delete_matching(&self, key: &str, etag: &str) -> object_store::Result<()> {
        let mut request = self.of_object("DELETE", key, "")?;
        with_header(&mut request, "if-match", etag)?;
        self.send(request).await.map(drop)
    }

    /// Removes one generation of an object (Google), also where older ones are kept.
    pub async fn delete_generation(&self, key: &str, generation: &str) -> object_store::Result<()> {
        let request = self.of_object("DELETE", key, &format!("generation={}", encoded(generation)))?;
        self.send(request).await.map(drop)
    }

    /// Has the store put objects of this bucket together under a new key (Google's `compose`). It fails with a precondition if there
    /// is an object, or if that of a component is of another generation by now.
    pub async fn compose(
        &self,
        key: &str,
        components: &[Component<'_>],
        headers: &[(String, String)],
    ) -> object_store::Result<()> {
        let mut request = self.of_object("PUT", key, "compose")?;
        *request.body_mut() = HttpRequestBody::from(compose_request(components));
        with_header(&mut request, "x-goog-if-generation-match", "0")?;
        headers.iter().try_for_each(|(name, value)| with_header(&mut request, name, value))?;
        self.send(request).await.map(drop)
    }

    fn of_object(&self, method: &str, key: &str, query: &str) -> object_store::Result<HttpRequest> {
        request_of(method, &format!("{}/{}", self.bucket, encoded_key(key)), query)
    }

    /// Signs a request, sends it, and gives the text of an answer that is a success.
    async fn send(&self, mut request: HttpRequest) -> object_store::Result<String> {
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
        text_of_answer(&self.client, request).await
    }
}

/// A request without a body.
pub(super) fn request_of(method: &str, address: &str, query: &str) -> object_store::Result<HttpRequest> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    let mark = if query.is_empty() { "" } else { "?" };
    let address = format!("{address}{mark}{query}");
    *request.method_mut() = method.parse().map_err(|_| failed(format!("no method `{method}`")))?;
    *request.uri_mut() = address.parse().map_err(|e| failed(format!("`{address}`: {e}")))?;
    Ok(request)
}

/// Sends a request that is signed, and gives the text of an answer that is a success.
pub(super) async fn text_of_answer(client: &HttpClient, request: HttpRequest) -> object_store::Result<String> {
    let answer = client.execute(request).await;
    let answer = answer.map_err(|e| object_store::Error::Generic { store: "uploads", source: Box::new(e) })?;
    let status = answer.status();
    let body = answer.into_body().bytes().await.map_err(|e| failed(crate::fault::chain(&e)))?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(failed(format!("{status}: {text}"))) }
}

/// An object that becomes a part of another one.
pub(super) struct Component<'a> {
    pub key: &'a str,
    /// The generation that it must have.
    pub generation: &'a str,
}

/// The body of a `compose` request. The generation is a condition: named alone, an older one would be taken where versions are kept.
fn compose_request(components: &[Component<'_>]) -> String {
    let component = |Component { key, generation }: &Component<'_>| {
        let (key, generation) = (escape(*key), escape(*generation));
        format!("<Component><Name>{key}</Name><IfGenerationMatch>{generation}</IfGenerationMatch></Component>")
    };
    let components: String = components.iter().map(component).collect();
    format!("<ComposeRequest>{components}</ComposeRequest>")
}

/// A part of an upload that the store copies itself.
pub(super) struct CopiedPart<'a> {
    /// The key of the upload.
    pub key: &'a str,
    /// Empty where uploads have no ids (Azure).
    pub upload_id: &'a str,
    /// Which part, from 1 on.
    pub number: usize,
    /// The key of the object that is copied from.
    pub source: &'a str,
    /// Which bytes of it.
    pub range: Range<u64>,
    /// The entity tag that it must have.
    pub etag: Option<&'a str>,
}

pub(super) fn with_header(request: &mut HttpRequest, name: &str, value: &str) -> object_store::Result<()> {
    let value = value.parse().map_err(|e| failed(format!("`{name}`: {e}")))?;
    let name: HeaderName = name.parse().map_err(|e| failed(format!("`{name}`: {e}")))?;
    request.headers_mut().insert(name, value);
    Ok(())
}

/// A key as it stands in a path.
pub(super) fn encoded_key(key: &str) -> String {
    key.split('/').map(|segment| encoded(segment).to_string()).collect::<Vec<_>>().join("/")
}

pub(super) fn failed(words: String) -> object_store::Error {
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

pub(super) fn encoded(text: &str) -> impl Display {
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

    #[test]
    fn components_are_named_with_the_generations_that_they_must_have() {
        let components =
            [Component { key: "p/.head", generation: "7" }, Component { key: "p/a & <b>", generation: "9" }];
        let said = compose_request(&components);
        let names: Vec<_> = elements(&said, "Component").filter_map(|component| text_of(&component, "Name")).collect();
        assert_eq!(names, ["p/.head", "p/a & <b>"]);
        let of = |component: String| text_of(&component, "IfGenerationMatch");
        assert_eq!(elements(&said, "Component").filter_map(of).collect::<Vec<_>>(), ["7", "9"]);
        assert!(!said.contains("<Generation>"), "an older generation of a changed object");
    }
}
