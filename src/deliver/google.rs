//! Builds `object_store`'s client for Google Cloud Storage; see [`backend`](super::backend) for what holds for all.

use std::sync::Arc;

use object_store::client::HttpConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::TargetOptions;
use super::backend::{Backend, client, no_credentials, refused, retry, uplink};
use super::credentials::{Environment, Secret, unknown};
use super::diagnose::Provider;
use super::error::Result;
use super::place::endpoint;
use super::wire::{Keys, Wire};

const GCS_CREDENTIALS: &str = "service_account (a JSON key file)";
const GCS_ADVICE: &str = "Set GOOGLE_APPLICATION_CREDENTIALS or `credential_files = { service_account = \"…\" }`, or log in \
    with `gcloud auth application-default login`. To use the machine's service account set GCE_METADATA_HOST.";
const GCS_VARIABLES: [&str; 8] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_SKIP_SIGNATURE",
    "SERVICE_ACCOUNT",
    "GCE_METADATA_HOST",
];

/// Opens the clients for a bucket.
pub(super) fn open(
    options: &TargetOptions,
    bucket: &str,
    environment: &Environment,
    secrets: &[Secret],
) -> Result<Backend> {
    let mut builder = GoogleCloudStorageBuilder::new();
    if secrets.is_empty() {
        builder = gcs_environment(builder, options, environment)?;
    }
    let mut is_http = false;
    let mut base = "https://storage.googleapis.com".to_owned();
    for secret in secrets {
        match secret.name.as_str() {
            "service_account" | "service_account_key" => {
                if let Some(own) = base_url_in(&secret.value) {
                    is_http |= own.starts_with("http://");
                    base = own;
                }
                builder = builder.with_service_account_key(&secret.value);
            }
            other => return Err(unknown(options, other, GCS_CREDENTIALS)),
        }
    }
    if let Some(address) = &options.endpoint {
        let address = endpoint(&options.name, address)?;
        is_http |= address.scheme() == "http";
        address.as_str().trim_end_matches('/').clone_into(&mut base);
        builder = builder.with_config(GoogleConfigKey::BaseUrl, base.as_str());
    }
    let built = builder
        .with_bucket_name(bucket)
        .with_client_options(client(is_http))
        .with_retry(retry())
        .with_http_connector(uplink(options))
        .build();
    let store = Arc::new(built.map_err(refused(options))?);
    let client = uplink(options).connect(&client(is_http)).map_err(refused(options))?;
    let keys = Keys::Google(store.credentials().clone());
    let wire = Wire { client, bucket: format!("{base}/{bucket}"), keys };
    let backend = Backend::of(options, Provider::Gcs, store.clone(), store);
    Ok(Backend { wire: Some(Arc::new(wire)), ..backend })
}

/// The address that a service account's key names instead of Google's own.
fn base_url_in(key: &str) -> Option<String> {
    let key: serde_json::Value = serde_json::from_str(key).ok()?;
    key.get("gcs_base_url")?.as_str().map(|url| url.trim_end_matches('/').to_owned())
}

fn gcs_environment(
    mut builder: GoogleCloudStorageBuilder,
    options: &TargetOptions,
    environment: &Environment,
) -> Result<GoogleCloudStorageBuilder> {
    let home = environment.get("HOME").unwrap_or("/");
    let logged_in = std::path::Path::new(home).join(".config/gcloud/application_default_credentials.json");
    if environment.first(&GCS_VARIABLES).is_none() && !logged_in.exists() {
        return Err(no_credentials(options, GCS_ADVICE));
    }
    if let Some(path) = environment.get("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(path);
    }
    for (name, value) in environment.settings("GOOGLE_") {
        match name.parse() {
            Ok(GoogleConfigKey::Bucket | GoogleConfigKey::Client(_)) | Err(_) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    Ok(builder)
}
