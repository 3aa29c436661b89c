//! One request of a webhook.

use std::time::Duration;

use super::error::AnnounceError;
use super::options::{Signature, WebhookOptions};
use super::{secret, signature};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer so much is read, so that its connection can be used again; the rest is not waited for.
const ANSWER_BYTES: usize = 16 << 10;

/// What a webhook's requests go through. No redirect is followed: only where the operator's list says anything is sent.
pub(super) fn client(timeout: Duration) -> Result<reqwest::Client, AnnounceError> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("aftercast/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout);
    client.build().map_err(AnnounceError::Request)
}

/// The request with an event's content type and body; reads the secret.
pub(super) fn request(
    client: &reqwest::Client,
    webhook: &WebhookOptions,
    (content_type, body): (&str, Vec<u8>),
    id: &str,
    now_ms: i64,
) -> Result<reqwest::Request, AnnounceError> {
    let timestamp = now_ms.div_euclid(1_000);
    let mut request = client.post(&webhook.url).header("content-type", content_type);
    request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
    if let Some(from) = &webhook.secret_file {
        let (name, value) = signature::sign(webhook.signature, &secret::read(from)?, id, timestamp, &body);
        request = request.header(name, value);
    }
    request.body(body).build().map_err(without_address)
}

/// Sends it; anything of 2xx is a success.
pub(super) async fn send(client: &reqwest::Client, request: reqwest::Request) -> Result<(), AnnounceError> {
    let mut response = client.execute(request).await.map_err(without_address)?;
    let status = response.status();
    let mut read = 0;
    while read < ANSWER_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
    }
    if status.is_success() { Ok(()) } else { Err(AnnounceError::Status(status.as_u16())) }
}

/// Many services have a secret in the path: it is not to be logged.
fn without_address(error: reqwest::Error) -> AnnounceError {
    AnnounceError::Request(error.without_url())
}

/// What doctor says of how it signs.
pub(super) fn signs(webhook: &WebhookOptions) -> &'static str {
    match (&webhook.secret_file, webhook.signature) {
        (None, _) => "unsigned",
        (Some(_), Signature::Standard) => "signed (Standard Webhooks)",
        (Some(_), Signature::Ams) => "signed (X-Ams-Signature)",
    }
}
