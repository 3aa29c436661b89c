//! The requests to Azure that `object_store` does not make: blocks of a blob that the service copies of another one, and removing a blob
//! only as it was seen.
//!
//! The service reads the source by its address, like anybody else: it must be told who reads. An account's key signs that for the one
//! blob and a while, a shared access signature is passed on, and so is the token of an identity.

use std::time::Duration;

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use object_store::azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider};
use object_store::client::{HttpClient, HttpRequest};
use sha2::Sha256;

use super::checksum::base64;
use super::wire::{CopiedPart, encoded, encoded_key, failed, request_of, text_of_answer, with_header};
use crate::durable::random_id;

/// How long the service may read the source of a copy that it was told to make.
const READABLE_FOR: Duration = Duration::from_secs(3600);
/// The version of shared access signatures whose fields are those below.
const SIGNATURE_VERSION: &str = "2020-12-06";

/// A container's own address and who may talk to it.
pub(super) struct BlockClient {
    pub client: HttpClient,
    /// Address of the container, without a trailing slash.
    pub address: String,
    pub account: String,
    pub container: String,
    pub credentials: AzureCredentialProvider,
    /// The account's key, if that is the credential.
    pub account_key: Option<Vec<u8>>,
}

/// How the service gets at the source of a copy.
struct CopySource {
    /// Its address; it may hold a signature.
    address: String,
    authorization: Option<String>,
}

impl BlockClient {
    /// Has the service copy a range of a blob of this container into a block of another one (Put Block From URL); returns the id of
    /// the block. It fails with a precondition if the source has another entity tag by now.
    pub async fn copy_block(&self, block: &CopiedPart<'_>) -> object_store::Result<String> {
        let CopiedPart { key, source, range, etag, .. } = block;
        // All ids of a blob must be of one length: that of the ids of `object_store`.
        let id = format!("{}{}", random_id(), random_id());
        let query = format!("comp=block&blockid={}", encoded(&base64(id.as_bytes())));
        let mut request = request_of("PUT", &self.address_of(key), &query)?;
        let CopySource { address, authorization } = self.source(source).await?;
        // It must be said that there is no body; it is not said by itself.
        with_header(&mut request, "content-length", "0")?;
        with_header(&mut request, "x-ms-copy-source", &address)?;
        with_header(&mut request, "x-ms-source-range", &format!("bytes={}-{}", range.start, range.end - 1))?;
        if let Some(etag) = etag {
            with_header(&mut request, "x-ms-source-if-match", etag)?;
        }
        if let Some(authorization) = authorization {
            with_header(&mut request, "x-ms-copy-source-authorization", &authorization)?;
        }
        self.send(request).await.map(|()| id)
    }

    /// Removes a blob if it still has an entity tag.
    pub async fn delete_matching(&self, key: &str, etag: &str) -> object_store::Result<()> {
        let mut request = request_of("DELETE", &self.address_of(key), "")?;
        with_header(&mut request, "if-match", etag)?;
        self.send(request).await
    }

    fn address_of(&self, key: &str) -> String {
        format!("{}/{}", self.address, encoded_key(key))
    }

    async fn source(&self, key: &str) -> object_store::Result<CopySource> {
        let address = self.address_of(key);
        let credential = self.credentials.get_credential().await?;
        let query = match (&*credential, &self.account_key) {
            (AzureCredential::BearerToken(token), _) => {
                return Ok(CopySource { address, authorization: Some(format!("Bearer {token}")) });
            }
            (AzureCredential::SASToken(pairs), _) => query_of(pairs.iter().map(|(name, value)| (&**name, &**value))),
            (AzureCredential::AccessKey(_), Some(account_key)) => self.signature(account_key, key, Timestamp::now())?,
            (AzureCredential::AccessKey(_), None) => return Err(failed("the account's key is not known".to_owned())),
        };
        Ok(CopySource { address: format!("{address}?{query}"), authorization: None })
    }

    /// A service signature that lets one blob be read from now on. It has no beginning: this machine's clock may be ahead.
    fn signature(&self, account_key: &[u8], key: &str, now: Timestamp) -> object_store::Result<String> {
        let ends = (now + READABLE_FOR).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let blob = format!("/blob/{}/{}/{key}", self.account, self.container);
        // Permissions, beginning, end, blob, identifier, address, protocol, version, kind; snapshot, encryption and what answers say.
        let fields = ["r", "", &ends, &blob, "", "", "", SIGNATURE_VERSION, "b", "", "", "", "", "", "", ""];
        let mut mac = Hmac::<Sha256>::new_from_slice(account_key).map_err(|error| failed(error.to_string()))?;
        mac.update(fields.join("\n").as_bytes());
        let signature = base64(&mac.finalize().into_bytes());
        let pairs = [("sv", SIGNATURE_VERSION), ("se", &ends), ("sr", "b"), ("sp", "r"), ("sig", &signature)];
        Ok(query_of(pairs.into_iter()))
    }

    async fn send(&self, mut request: HttpRequest) -> object_store::Result<()> {
        let credential = self.credentials.get_credential().await?;
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        match text_of_answer(&self.client, request).await {
            // An answer may repeat the address of the source.
            Err(error) => {
                let said = crate::fault::raw_chain(&error);
                Err(if said.contains("sig=") { failed(without_signatures(&said)) } else { error })
            }
            Ok(_) => Ok(()),
        }
    }
}

fn query_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// A text without the values of signatures in it.
fn without_signatures(text: &str) -> String {
    let mut pieces = text.split("sig=");
    let first = pieces.next().unwrap_or_default().to_owned();
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "%+/=".contains(c));
    pieces.fold(first, |so_far, piece| format!("{so_far}sig=…{}", piece.trim_start_matches(|c| !ends(c))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::StaticCredentialProvider;
    use object_store::azure::AzureAccessKey;
    use object_store::client::HttpConnector;

    use super::super::TargetOptions;
    use super::super::backend::{client, uplink};
    use super::*;

    fn blocks(credential: AzureCredential, account_key: Option<Vec<u8>>) -> BlockClient {
        let options = TargetOptions::new("t", "az://c");
        BlockClient {
            client: uplink(&options).connect(&client(true)).unwrap(),
            address: "https://someone.blob.core.windows.net/c".into(),
            account: "someone".into(),
            container: "c".into(),
            credentials: Arc::new(StaticCredentialProvider::new(credential)),
            account_key,
        }
    }

    #[tokio::test]
    async fn the_source_is_read_with_what_the_credentials_allow() {
        let source = async |credential, key| blocks(credential, key).source("live/ä b.mp4").await;
        let at = "https://someone.blob.core.windows.net/c/live/%C3%A4%20b.mp4";
        let token = source(AzureCredential::BearerToken("hush".into()), None).await.unwrap();
        assert_eq!((&*token.address, token.authorization.as_deref()), (at, Some("Bearer hush")));
        let pairs = [("sp", "rcw"), ("sig", "a+b/c=")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shared = source(AzureCredential::SASToken(pairs.to_vec()), None).await.unwrap();
        assert_eq!((shared.address, shared.authorization), (format!("{at}?sp=rcw&sig=a%2Bb%2Fc%3D"), None));
        let key = AzureAccessKey::try_new("a2V5").unwrap();
        let signed = source(AzureCredential::AccessKey(key.clone()), Some(b"key".to_vec())).await.unwrap();
        assert!(signed.address.starts_with(&format!("{at}?sv=2020-12-06&se=")), "{}", signed.address);
        assert!(signed.address.contains("&sr=b&sp=r&sig="), "{}", signed.address);
        assert!(source(AzureCredential::AccessKey(key), None).await.is_err());
    }

    #[test]
    fn signatures_are_not_repeated_in_errors() {
        let text = "<HeaderValue>https://x/c/b?sp=r&amp;sig=a%2Bb+c/d==</HeaderValue> sig=x&se=1";
        assert_eq!(without_signatures(text), "<HeaderValue>https://x/c/b?sp=r&amp;sig=…</HeaderValue> sig=…&se=1");
        assert_eq!(without_signatures("none"), "none");
    }
}
