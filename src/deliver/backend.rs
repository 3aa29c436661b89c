//! Builds `object_store`'s clients for S3, Azure and Google from a target's options and the environment.
//!
//! It must not reach the network: a wrong key is found by the first request, a wrong setting here. Credentials of the
//! machine itself (instance metadata) are taken only where the operator points to them; otherwise a forgotten key would
//! end in minutes of silence towards 169.254.169.254.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig, TagSet};
use url::Url;

use super::assembly_parts::ServerCopy;
use super::bandwidth::RateLimiter;
use super::blocks::BlockClient;
use super::credentials::{Environment, SecretSetting, secrets, unknown};
use super::diagnose::Provider;
use super::error::{DeliverError, Result};
use super::location::endpoint;
use super::parts::PartPlan;
use super::profile::AwsProfile;
use super::uplink::{PacedConnector, Resigner};
use super::wire::{BucketClient, SigningKeys};
use super::{ChecksumMode, Encryption, TargetOptions};

/// The clients of one bucket.
#[derive(Clone)]
pub(super) struct Backend {
    /// Which family of stores.
    pub provider: Provider,
    /// Stores, lists, deletes.
    pub store: Arc<dyn ObjectStore>,
    /// Looks at objects; asks S3 for checksums, which must not be asked of other requests.
    pub check: Arc<dyn ObjectStore>,
    /// Multipart uploads with ids that can be kept.
    pub parts: Arc<dyn MultipartStore>,
    /// Begins objects: the same as `store` and `parts` unless an ACL is asked for, which only beginnings may say.
    pub put: Arc<dyn ObjectStore>,
    /// Begins multipart uploads.
    pub begin: Arc<dyn MultipartStore>,
    /// Lists page by page, where the store can go on at a page.
    pub pages: Option<Arc<dyn PaginatedListStore>>,
    /// Signs the end of an upload again with the attributes, which Azure takes only there.
    pub resigner: Option<Arc<Resigner>>,
    /// Signs addresses for others.
    pub signer: Option<Arc<dyn Signer>>,
    /// Lists unfinished uploads, where there is such a list.
    pub wire: Option<Arc<BucketClient>>,
    /// Has blocks copied, on Azure.
    pub blocks: Option<Arc<BlockClient>>,
    /// Tags of new objects.
    pub tags: TagSet,
    /// How copies are compared.
    pub checksum: ChecksumMode,
    /// Parts on the way at once.
    pub at_once: usize,
    /// Bytes of a part.
    pub part_bytes: u64,
}

impl Backend {
    pub fn of(
        options: &TargetOptions,
        provider: Provider,
        store: Arc<dyn ObjectStore>,
        parts: Arc<dyn MultipartStore>,
    ) -> Self {
        let mut tags = TagSet::default();
        options.tags.iter().for_each(|(name, value)| tags.push(name, value));
        Self {
            provider,
            check: Arc::clone(&store),
            put: Arc::clone(&store),
            begin: Arc::clone(&parts),
            store,
            parts,
            pages: None,
            resigner: None,
            signer: None,
            wire: None,
            blocks: None,
            tags,
            checksum: options.checksum,
            at_once: options.at_once(),
            part_bytes: options.part_bytes,
        }
    }

    /// A store in memory as a bucket.
    pub fn in_memory(options: &TargetOptions, memory: &Arc<object_store::memory::InMemory>) -> Self {
        Self::of(options, Provider::S3, memory.clone(), memory.clone())
    }

    /// What the store puts together by itself, as far as its kind tells.
    pub fn copies(&self) -> Option<ServerCopy> {
        match self.provider {
            // The SHA-256 of a part that was copied is not known here, and S3 wants it at the end.
            Provider::S3 if self.checksum == ChecksumMode::Sha256 => None,
            Provider::S3 => self.wire.is_some().then_some(ServerCopy::Parts),
            Provider::Azure => self.blocks.is_some().then_some(ServerCopy::Blocks),
            Provider::Gcs => self.wire.is_some().then_some(ServerCopy::Objects),
            Provider::Disk => None,
        }
    }

    /// How a file of a size is cut.
    pub const fn plan(&self, size_bytes: u64) -> PartPlan {
        PartPlan::with_parts_of(self.part_bytes, size_bytes)
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The stores' own form is long, and whether it hides every secret is not ours to promise.
        f.debug_struct("Backend").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// No retry begins after this time.
const RETRIES_WITHIN: Duration = Duration::from_secs(600);
/// Few and short: the delivery queue has the long patience and shows what is wrong meanwhile.
const RETRIES: usize = 2;

pub(super) fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRIES_WITHIN, ..RetryConfig::default() }
}

/// What a request may take is limited by the uplink, and not as a whole.
pub(super) fn client(allows_http: bool) -> ClientOptions {
    ClientOptions::new().with_allow_http(allows_http).with_timeout_disabled()
}

pub(super) fn uplink(options: &TargetOptions) -> PacedConnector {
    let pace = options.bandwidth.clone().map(|limit| Arc::new(RateLimiter::new(limit)));
    PacedConnector { pace, stall: options.stall_timeout }
}

pub(super) fn refused(options: &TargetOptions) -> impl Fn(object_store::Error) -> DeliverError {
    let target = options.name.clone();
    move |error| {
        let advice = "Correct the target's settings and credentials.";
        DeliverError::configuration(&target, crate::fault::chain(&error), advice)
    }
}

pub(super) fn no_credentials(options: &TargetOptions, advice: &str) -> DeliverError {
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
    only_on_s3(options, provider)?;
    match provider {
        Provider::S3 => s3(options, bucket, environment, &secrets),
        Provider::Azure => super::azure::open(options, bucket, environment, &secrets),
        Provider::Gcs | Provider::Disk => super::google::open(options, bucket, environment, &secrets),
    }
}

/// Refuses what a store would not do although it is asked for.
fn only_on_s3(options: &TargetOptions, provider: Provider) -> Result<()> {
    let is_s3 = provider == Provider::S3;
    let refused = match () {
        () if !is_s3 && options.acl.is_some() => "`acl`",
        () if !is_s3 && options.encryption != Encryption::Bucket => "`encryption`",
        () if !is_s3 && options.checksum != ChecksumMode::Auto => "`checksum`",
        () if provider == Provider::Gcs && !options.tags.is_empty() => "`tags`",
        () => return Ok(()),
    };
    let problem = format!("{refused} cannot be set for this kind of store");
    Err(DeliverError::configuration(
        &options.name,
        problem,
        "Remove it; set it on the bucket if the store supports it.",
    ))
}

const S3_ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const S3_CREDENTIALS: &str = "access_key_id, secret_access_key, session_token";
const S3_ADVICE: &str = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `credential_files`, a profile (AWS_PROFILE), or a web identity \
    (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN). To use the role of an EC2 instance set AWS_EC2_METADATA_DISABLED=false.";

fn s3(options: &TargetOptions, bucket: &str, environment: &Environment, secrets: &[SecretSetting]) -> Result<Backend> {
    let address = options.endpoint.as_deref().or_else(|| environment.first(&S3_ENDPOINTS));
    let address = address.map(|a| endpoint(&options.name, a)).transpose()?;
    let is_https = address.as_ref().is_none_or(|a| a.scheme() == "https");
    let plain = client(!is_https);
    let mut builder = AmazonS3Builder::new();
    let has_own_key = secrets.iter().any(|secret| secret.name == "access_key_id");
    for (name, value) in environment.settings("AWS_") {
        match name.parse() {
            // The session of another key.
            Ok(AmazonS3ConfigKey::Token) if has_own_key => {}
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
    let profile = AwsProfile::of(environment);
    if !has_s3_credentials(&builder, environment) {
        builder = with_profile(builder, &profile);
    }
    if !has_s3_credentials(&builder, environment) {
        return Err(no_s3_credentials(options, &builder));
    }
    let region = options.region.as_deref().or_else(|| environment.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    let region = region.or(profile.region.as_deref()).unwrap_or("us-east-1");
    builder = s3_address(builder.with_region(region), options, bucket, address.as_ref())?;
    // Over https the body is covered by TLS and the checksum, on loopback nobody else can touch it; signing it as well would
    // double the processor time.
    let is_covered = is_https || address.as_ref().is_some_and(is_loopback);
    builder = with_options(builder, options).with_unsigned_payload(is_covered).with_http_connector(uplink(options));
    let build = |client| builder.clone().with_client_options(client).build().map(Arc::new).map_err(refused(options));
    let store = build(plain.clone())?;
    let mut backend = Backend::of(options, Provider::S3, store.clone(), store.clone());
    backend.signer = Some(store.clone());
    backend.pages = Some(store.clone());
    backend.check = build(saying(plain.clone(), "x-amz-checksum-mode", "ENABLED"))?;
    if let Some(acl) = &options.acl {
        let begins = build(saying(plain.clone(), "x-amz-acl", acl))?;
        (backend.put, backend.begin) = (begins.clone(), begins);
    }
    let region = builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_default();
    let client = uplink(options).connect(&plain).map_err(refused(options))?;
    let address = bucket_address(&builder, options, bucket, address.as_ref(), &region);
    let is_open = environment.get("AWS_SKIP_SIGNATURE").is_some();
    let credentials = store.credentials().clone();
    let keys = if is_open { SigningKeys::None } else { SigningKeys::Aws { credentials, region } };
    backend.wire = Some(Arc::new(BucketClient { client, bucket: address, name: bucket.to_owned(), keys }));
    Ok(backend)
}

/// Checksums, encryption and retries.
fn with_options(builder: AmazonS3Builder, options: &TargetOptions) -> AmazonS3Builder {
    let mut builder = builder.with_retry(retry());
    builder = match options.checksum {
        ChecksumMode::Auto | ChecksumMode::Crc64Nvme => builder.with_checksum_algorithm(Checksum::CRC64NVME),
        ChecksumMode::Sha256 => builder.with_checksum_algorithm(Checksum::SHA256),
        ChecksumMode::Md5 | ChecksumMode::None => builder,
    };
    let encryption = |builder: AmazonS3Builder, name: &str, value: &str| match name.parse::<AmazonS3ConfigKey>() {
        Ok(key) => builder.with_config(key, value),
        Err(_) => builder,
    };
    match &options.encryption {
        Encryption::Bucket => builder,
        Encryption::Store => encryption(builder, "aws_server_side_encryption", "AES256"),
        Encryption::Kms(None) => encryption(builder, "aws_server_side_encryption", "aws:kms"),
        Encryption::Kms(Some(key)) => builder.with_sse_kms_encryption(key),
    }
}

/// Whether an address is this machine itself, without asking a resolver.
fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

fn puts_bucket_in_path(options: &TargetOptions, bucket: &str, address: Option<&Url>) -> bool {
    // A bucket name with dots does not fit the provider's certificate as part of a host name.
    options.path_style.unwrap_or(address.is_some() || bucket.contains('.'))
}

/// The bucket's own address, for the requests that `object_store` does not make.
fn bucket_address(
    builder: &AmazonS3Builder,
    options: &TargetOptions,
    bucket: &str,
    address: Option<&Url>,
    region: &str,
) -> String {
    let by_path = puts_bucket_in_path(options, bucket, address);
    let set = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).filter(|e| !e.is_empty());
    match set {
        Some(endpoint) if by_path => format!("{endpoint}/{bucket}"),
        Some(endpoint) => endpoint,
        None if by_path => format!("https://s3.{region}.amazonaws.com/{bucket}"),
        None => format!("https://{bucket}.s3.{region}.amazonaws.com"),
    }
}

/// Adds a header to every request of a client. Without `x-amz-checksum-mode` S3 keeps checksums to itself.
fn saying(client: ClientOptions, name: &'static str, value: &str) -> ClientOptions {
    let mut headers = HttpRequest::new(HttpRequestBody::empty()).headers().clone();
    if let Ok(value) = value.parse() {
        headers.insert(name, value);
    }
    client.with_default_headers(headers)
}

fn with_profile(builder: AmazonS3Builder, profile: &AwsProfile) -> AmazonS3Builder {
    let keys = [
        (AmazonS3ConfigKey::AccessKeyId, &profile.access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, &profile.secret_access_key),
        (AmazonS3ConfigKey::Token, &profile.session_token),
    ];
    keys.into_iter().fold(builder, |builder, (key, value)| match value {
        Some(value) => builder.with_config(key, value),
        None => builder,
    })
}

fn is_s3_set(builder: &AmazonS3Builder, key: AmazonS3ConfigKey) -> bool {
    builder.get_config_value(&key).is_some_and(|v: String| !v.is_empty())
}

/// An identity without its other half is none: `object_store` would ask the machine's own instead.
fn no_s3_credentials(options: &TargetOptions, builder: &AmazonS3Builder) -> DeliverError {
    let halves = [
        (AmazonS3ConfigKey::WebIdentityTokenFile, "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        (
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
    ];
    match halves.into_iter().find(|(key, ..)| is_s3_set(builder, *key)) {
        Some((_, half, other)) => half_an_identity(options, half, other, S3_ADVICE),
        None => no_credentials(options, S3_ADVICE),
    }
}

pub(super) fn half_an_identity(options: &TargetOptions, half: &str, missing: &str, advice: &str) -> DeliverError {
    DeliverError::configuration(&options.name, format!("{half} is set, but {missing} is not"), advice)
}

fn has_s3_credentials(builder: &AmazonS3Builder, environment: &Environment) -> bool {
    let is_set = |key| is_s3_set(builder, key);
    let allows_instance = environment.get("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("false"));
    is_set(AmazonS3ConfigKey::AccessKeyId)
        || is_set(AmazonS3ConfigKey::SecretAccessKey)
        || (is_set(AmazonS3ConfigKey::WebIdentityTokenFile) && is_set(AmazonS3ConfigKey::RoleArn))
        || is_set(AmazonS3ConfigKey::ContainerCredentialsRelativeUri)
        || (is_set(AmazonS3ConfigKey::ContainerCredentialsFullUri)
            && is_set(AmazonS3ConfigKey::ContainerAuthorizationTokenFile))
        || is_set(AmazonS3ConfigKey::MetadataEndpoint)
        || environment.get("AWS_SKIP_SIGNATURE").is_some()
        || allows_instance
}

/// Bucket, endpoint, and whether the bucket stands in the host name or in the path.
fn s3_address(
    builder: AmazonS3Builder,
    options: &TargetOptions,
    bucket: &str,
    address: Option<&Url>,
) -> Result<AmazonS3Builder> {
    let builder = builder.with_bucket_name(bucket);
    let by_path = puts_bucket_in_path(options, bucket, address);
    let builder = builder.with_virtual_hosted_style_request(!by_path);
    Ok(match address {
        None => builder,
        Some(address) if by_path => builder.with_endpoint(address.as_str().trim_end_matches('/')),
        Some(address) => {
            let mut with_bucket = address.clone();
            let host = address.domain().map(|domain| format!("{bucket}.{domain}"));
            let is_set = host.is_some_and(|host| with_bucket.set_host(Some(&host)).is_ok());
            if !is_set {
                let problem = "`path_style = false` puts the bucket in front of the endpoint's host name, but this host \
                     cannot have a prefix";
                let advice = "Set `path_style = true`, or write the endpoint with a name instead of an IP address.";
                return Err(DeliverError::configuration(&options.name, problem, advice));
            }
            builder.with_endpoint(with_bucket.as_str().trim_end_matches('/'))
        }
    })
}

#[cfg(test)]
mod tests;
