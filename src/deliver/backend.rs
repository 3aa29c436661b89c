//! Builds `object_store`'s clients for S3, Azure and Google from a target's options and the environment.
//!
//! It must not reach the network: a wrong key is found by the first request, a wrong setting here. Credentials of the
//! machine itself (instance metadata) are taken only where the operator points to them; otherwise a forgotten key would
//! end in minutes of silence towards 169.254.169.254.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::TargetOptions;
use super::credentials::{Environment, Secret, secrets, unknown};
use super::diagnose::Provider;
use super::error::{DeliverError, Result};
use super::place::endpoint;
use super::uplink::Uplink;

/// The clients of one bucket.
#[derive(Clone)]
pub(super) struct Backend {
    /// Which family of stores.
    pub provider: Provider,
    /// Stores, lists, deletes.
    pub store: Arc<dyn ObjectStore>,
    /// Looks at objects; asks S3 for checksums, which must not be asked of other requests.
    pub check: Arc<dyn ObjectStore>,
    /// Multipart uploads with ids that can be kept; `None` where attributes cannot be given that way (Azure).
    pub parts: Option<Arc<dyn MultipartStore>>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The stores' own form is long, and whether it hides every secret is not ours to promise.
        f.debug_struct("Backend").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// One request may take this long: a part of 8 MiB still arrives over 14 kB/s. The queue retries beyond it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Few and short: the delivery queue has the long patience and shows what is wrong meanwhile.
const RETRIES: usize = 2;

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: REQUEST_TIMEOUT, ..RetryConfig::default() }
}

fn client(allows_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allows_http)
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_config(ClientConfigKey::UserAgent, concat!("aftercast/", env!("CARGO_PKG_VERSION")))
}

fn refused(options: &TargetOptions) -> impl Fn(object_store::Error) -> DeliverError {
    let target = options.name.clone();
    move |error| {
        let advice = "Correct the target's settings and credentials.";
        DeliverError::configuration(&target, crate::fault::chain(&error), advice)
    }
}

fn no_credentials(options: &TargetOptions, advice: &str) -> DeliverError {
    DeliverError::configuration(&options.name, "no credentials are configured", advice)
}

/// Opens the clients for a bucket.
pub(super) fn open(
    options: &TargetOptions,
    provider: Provider,
    bucket: &str,
    environment: &Environment,
) -> Result<Backend> {
    let secrets = secrets(options, environment)?;
    match provider {
        Provider::S3 => s3(options, bucket, environment, &secrets),
        Provider::Azure => azure(options, bucket, environment, &secrets),
        Provider::Gcs | Provider::Disk => gcs(options, bucket, environment, &secrets),
    }
}

const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const S3_CREDENTIALS: &str = "access_key_id, secret_access_key, session_token";
const S3_ADVICE: &str = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `credential_files`, or a web identity \
    (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN). To use the role of an EC2 instance set AWS_EC2_METADATA_DISABLED=false.";

fn s3(options: &TargetOptions, bucket: &str, environment: &Environment, secrets: &[Secret]) -> Result<Backend> {
    let address = options.endpoint.as_deref().or_else(|| environment.first(&S3_ENDPOINTS));
    let address = address.map(|a| endpoint(&options.name, a)).transpose()?;
    let is_https = address.as_ref().is_none_or(|a| a.scheme() == "https");
    let plain = client(!is_https);
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment.settings("AWS_") {
        match name.parse() {
            Err(_)
            | Ok(
                AmazonS3ConfigKey::Endpoint
                | AmazonS3ConfigKey::S3Endpoint
                | AmazonS3ConfigKey::Bucket
                | AmazonS3ConfigKey::Client(_),
            ) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    for secret in secrets {
        let key = match secret.name.as_str() {
            "access_key_id" => AmazonS3ConfigKey::AccessKeyId,
            "secret_access_key" => AmazonS3ConfigKey::SecretAccessKey,
            "session_token" => AmazonS3ConfigKey::Token,
            other => return Err(unknown(options, other, S3_CREDENTIALS)),
        };
        builder = builder.with_config(key, &secret.value);
    }
    if !has_s3_credentials(&builder, environment) {
        return Err(no_credentials(options, S3_ADVICE));
    }
    builder = s3_address(builder, options, bucket, environment, address.as_ref());
    // Over https the body is covered by TLS and the checksum; signing it as well would double the processor time.
    builder = builder.with_unsigned_payload(is_https).with_checksum_algorithm(Checksum::CRC64NVME);
    builder = builder.with_retry(retry()).with_http_connector(Uplink::default());
    let build = |client| builder.clone().with_client_options(client).build().map_err(refused(options));
    let store = Arc::new(build(plain.clone())?);
    let check = Arc::new(build(asking_for_checksums(plain))?);
    Ok(Backend { provider: Provider::S3, store: store.clone(), check, parts: Some(store) })
}

/// Adds `x-amz-checksum-mode: ENABLED`, without which S3 keeps checksums to itself.
fn asking_for_checksums(client: ClientOptions) -> ClientOptions {
    let mut headers = HttpRequest::new(HttpRequestBody::empty()).headers().clone();
    if let Ok(enabled) = "ENABLED".parse() {
        headers.insert("x-amz-checksum-mode", enabled);
    }
    client.with_default_headers(headers)
}

fn has_s3_credentials(builder: &AmazonS3Builder, environment: &Environment) -> bool {
    let is_set = |key| builder.get_config_value(&key).is_some_and(|v: String| !v.is_empty());
    let allows_instance = environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("false"));
    is_set(AmazonS3ConfigKey::AccessKeyId)
        || is_set(AmazonS3ConfigKey::SecretAccessKey)
        || is_set(AmazonS3ConfigKey::WebIdentityTokenFile)
        || is_set(AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
        || is_set(AmazonS3ConfigKey::ContainerCredentialsFullUri)
        || is_set(AmazonS3ConfigKey::MetadataEndpoint)
        || environment.get("AWS_SKIP_SIGNATURE").is_some()
        || allows_instance
}

/// Region, endpoint, and whether the bucket stands in the host name or in the path.
fn s3_address(
    builder: AmazonS3Builder,
    options: &TargetOptions,
    bucket: &str,
    environment: &Environment,
    address: Option<&Url>,
) -> AmazonS3Builder {
    let region = options.region.as_deref().or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    let builder = builder.with_bucket_name(bucket).with_region(region.unwrap_or("us-east-1"));
    // A bucket name with dots does not fit the provider's certificate as part of a host name.
    let by_path = options.path_style.unwrap_or(address.is_some() || bucket.contains('.'));
    let builder = builder.with_virtual_hosted_style_request(!by_path);
    match address {
        None => builder,
        Some(address) if by_path => builder.with_endpoint(address.as_str().trim_end_matches('/')),
        Some(address) => {
            let mut with_bucket = address.clone();
            let host = format!("{bucket}.{}", address.host_str().unwrap_or_default());
            let _ = with_bucket.set_host(Some(&host));
            builder.with_endpoint(with_bucket.as_str().trim_end_matches('/'))
        }
    }
}

const AZURE_CREDENTIALS: &str = "account_name, account_key, sas, token, client_id, client_secret, tenant_id";
const AZURE_ADVICE: &str = "Set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or \
    `credential_files`, or a workload identity. To use the machine's managed identity set \
    AZURE_CREDENTIAL_TYPE=managed_identity.";
/// Account and key that every Azure emulator has; published by Microsoft, no secret.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

fn azure(options: &TargetOptions, container: &str, environment: &Environment, secrets: &[Secret]) -> Result<Backend> {
    let address = options.endpoint.as_deref().or_else(|| environment.get("AZURE_STORAGE_ENDPOINT"));
    let address = address.map(|a| endpoint(&options.name, a)).transpose()?;
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in environment.settings("AZURE_") {
        match name.parse() {
            Ok(AzureConfigKey::Endpoint | AzureConfigKey::ContainerName | AzureConfigKey::Client(_)) | Err(_) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    if let Some(identity) = environment.get("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(identity);
    }
    for secret in secrets {
        let name = if secret.name == "sas" { "sas_token" } else { secret.name.as_str() };
        match name.parse() {
            Ok(AzureConfigKey::Client(_)) | Err(_) => return Err(unknown(options, name, AZURE_CREDENTIALS)),
            Ok(key) => builder = builder.with_config(key, &secret.value),
        }
    }
    let builder = azure_address(builder, options, environment, address.as_ref())?;
    let is_http = address.as_ref().is_some_and(|a| a.scheme() == "http");
    let built = builder
        .with_container_name(container)
        .with_client_options(client(is_http))
        .with_retry(retry())
        .with_http_connector(Uplink::default())
        .build();
    let store = Arc::new(built.map_err(refused(options))?);
    Ok(Backend { provider: Provider::Azure, store: store.clone(), check: store, parts: None })
}

/// Account, endpoint, and the emulator's published key where its account is named without one.
fn azure_address(
    mut builder: MicrosoftAzureBuilder,
    options: &TargetOptions,
    environment: &Environment,
    address: Option<&Url>,
) -> Result<MicrosoftAzureBuilder> {
    let is_set = |b: &MicrosoftAzureBuilder, key| b.get_config_value(&key).is_some_and(|v: String| !v.is_empty());
    let uses_emulator = environment.get("AZURE_STORAGE_USE_EMULATOR").is_some_and(|v| v != "false" && v != "0");
    if let Some(address) = address {
        builder = builder.with_endpoint(address.as_str().trim_end_matches('/').to_owned());
        if !is_set(&builder, AzureConfigKey::AccountName) {
            builder = builder.with_account(account_of(address));
        }
    }
    let account = builder.get_config_value(&AzureConfigKey::AccountName);
    let has_key =
        [AzureConfigKey::AccessKey, AzureConfigKey::SasKey, AzureConfigKey::Token, AzureConfigKey::ClientSecret]
            .into_iter()
            .chain([AzureConfigKey::FederatedTokenFile, AzureConfigKey::MsiEndpoint, AzureConfigKey::CredentialType])
            .any(|key| is_set(&builder, key));
    let is_open = ["AZURE_SKIP_SIGNATURE", "AZURE_USE_AZURE_CLI"].iter().any(|n| environment.get(n).is_some());
    match account {
        _ if uses_emulator && address.is_none() => Ok(builder),
        _ if has_key || is_open => Ok(builder),
        Some(account) if account == EMULATOR_ACCOUNT => Ok(builder.with_access_key(EMULATOR_KEY)),
        _ => Err(no_credentials(options, AZURE_ADVICE)),
    }
}

/// The account is the last segment of an emulator's endpoint, the first label of a real one.
fn account_of(address: &Url) -> String {
    let segment = address.path().trim_matches('/').rsplit('/').next().filter(|s| !s.is_empty());
    let label = || address.host_str().unwrap_or_default().split('.').next().unwrap_or_default();
    segment.unwrap_or_else(label).to_owned()
}

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

fn gcs(options: &TargetOptions, bucket: &str, environment: &Environment, secrets: &[Secret]) -> Result<Backend> {
    let mut builder = GoogleCloudStorageBuilder::new();
    if secrets.is_empty() {
        builder = gcs_environment(builder, options, environment)?;
    }
    let mut is_http = false;
    for secret in secrets {
        match secret.name.as_str() {
            "service_account" | "service_account_key" => {
                is_http |= secret.value.contains("\"http://");
                builder = builder.with_service_account_key(&secret.value);
            }
            other => return Err(unknown(options, other, GCS_CREDENTIALS)),
        }
    }
    if let Some(address) = &options.endpoint {
        let address = endpoint(&options.name, address)?;
        is_http |= address.scheme() == "http";
        builder = builder.with_config(GoogleConfigKey::BaseUrl, address.as_str().trim_end_matches('/'));
    }
    let built = builder
        .with_bucket_name(bucket)
        .with_client_options(client(is_http))
        .with_retry(retry())
        .with_http_connector(Uplink::default())
        .build();
    let store = Arc::new(built.map_err(refused(options))?);
    Ok(Backend { provider: Provider::Gcs, store: store.clone(), check: store.clone(), parts: Some(store) })
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    fn opened(options: &TargetOptions, provider: Provider, environment: &[(&str, &str)]) -> Result<Backend> {
        open(options, provider, "bucket", &Environment::of(environment))
    }

    #[test]
    fn no_credentials_is_said_at_once_and_never_asked_of_the_instance() {
        let options = TargetOptions::new("t", "s3://bucket");
        for provider in [Provider::S3, Provider::Azure, Provider::Gcs] {
            let error = opened(&options, provider, &[("HOME", "/nowhere")]).unwrap_err();
            assert!(error.to_string().contains("no credentials"), "{error}");
        }
        assert!(opened(&options, Provider::S3, &KEYS).is_ok());
        assert!(opened(&options, Provider::S3, &[("AWS_EC2_METADATA_DISABLED", "false")]).is_ok());
        assert!(opened(&options, Provider::S3, &[("AWS_EC2_METADATA_DISABLED", "true")]).is_err());
    }

    #[test]
    fn an_endpoint_without_scheme_is_a_configuration_error_from_the_environment_too() {
        let mut options = TargetOptions::new("t", "s3://bucket");
        let with = |name| [KEYS[0], KEYS[1], (name, "127.0.0.1:9100")];
        for name in S3_ENDPOINTS {
            assert!(opened(&options, Provider::S3, &with(name)).unwrap_err().is_configuration());
        }
        options.endpoint = Some("127.0.0.1:9100".into());
        for provider in [Provider::S3, Provider::Azure] {
            assert!(opened(&options, provider, &KEYS).unwrap_err().is_configuration());
        }
    }

    #[test]
    fn the_emulators_account_needs_no_key() {
        let mut options = TargetOptions::new("t", "az://bucket");
        options.endpoint = Some("http://127.0.0.1:10000/devstoreaccount1".into());
        assert!(opened(&options, Provider::Azure, &[]).is_ok());
        options.endpoint = Some("https://someone.blob.core.windows.net".into());
        assert!(opened(&options, Provider::Azure, &[]).is_err());
        assert!(opened(&options, Provider::Azure, &[("AZURE_STORAGE_ACCOUNT_KEY", EMULATOR_KEY)]).is_ok());
    }

    #[test]
    fn half_a_key_and_an_unknown_credential_are_named() {
        let mut options = TargetOptions::new("t", "s3://bucket");
        assert!(opened(&options, Provider::S3, &KEYS[..1]).unwrap_err().is_configuration());
        options.credential_files.insert("pasword".into(), "env:X".into());
        let error = opened(&options, Provider::S3, &[("X", "hush")]).unwrap_err().to_string();
        assert!(error.contains("pasword") && !error.contains("hush"), "{error}");
    }
}
