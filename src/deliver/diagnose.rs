//! Says in the operator's words why a store refused or could not be reached.
//!
//! Pure: it takes what was seen on the wire ([`FailureDetails`]) and gives a [`Cause`]. The status and the server's own code
//! decide, then the kind of network failure; the text of the error chain is the last resort, because several meanings
//! share one status (403 is a wrong secret, a wrong clock and a missing permission alike).

use std::fmt;

use crate::fault::Class;

/// What was asked of the store, to name the permission that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read an object's size and checksum.
    Head,
    /// Store an object.
    Put,
    /// Read an object.
    Get,
    /// List objects.
    List,
    /// Remove an object.
    Delete,
    /// Give up a multipart upload.
    Abort,
    /// List multipart uploads that were never ended.
    ListUploads,
}

/// Which family of stores a target belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3 and everything that speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// A directory.
    Disk,
}

impl Verb {
    /// To be read after "cannot".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Head => "check",
            Self::Put => "store",
            Self::Get => "read",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Abort => "abort the upload of",
            Self::ListUploads => "list unfinished uploads below",
        }
    }

    /// The least permission that the provider wants for it, by its own name.
    pub const fn permission(self, provider: Provider) -> &'static str {
        match (provider, self) {
            (Provider::S3, Self::Head | Self::Get) => {
                "s3:GetObject (and s3:ListBucket, to tell missing from forbidden)"
            }
            (Provider::S3, Self::Put) => "s3:PutObject",
            (Provider::S3, Self::List) => "s3:ListBucket",
            (Provider::S3, Self::Delete) => "s3:DeleteObject",
            (Provider::S3, Self::ListUploads) => "s3:ListBucketMultipartUploads",
            (Provider::S3, Self::Abort) => "s3:AbortMultipartUpload",
            (Provider::Azure, Self::Head | Self::Get) => "blobs/read (role Storage Blob Data Contributor, SAS `r`)",
            (Provider::Azure, Self::Put | Self::Abort) => {
                "blobs/write (role Storage Blob Data Contributor, SAS `c` and `w`)"
            }
            (Provider::Azure, Self::List | Self::ListUploads) => {
                "containers/read (role Storage Blob Data Contributor, SAS `l`)"
            }
            (Provider::Azure, Self::Delete) => "blobs/delete (role Storage Blob Data Contributor, SAS `d`)",
            (Provider::Gcs, Self::Head | Self::Get) => "storage.objects.get",
            (Provider::Gcs, Self::Put) => "storage.objects.create",
            (Provider::Gcs, Self::List) => "storage.objects.list",
            (Provider::Gcs, Self::Delete) => "storage.objects.delete",
            (Provider::Gcs, Self::ListUploads) => "storage.multipartUploads.list",
            (Provider::Gcs, Self::Abort) => "storage.multipartUploads.abort",
            (Provider::Disk, _) => "write permission on the directory",
        }
    }
}

/// How a request failed before an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkFailure {
    /// No connection.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The connection broke.
    Lost,
    /// Something else.
    Other,
}

/// What was seen of a failed request.
#[derive(Debug, Clone, Default)]
pub(super) struct FailureDetails {
    /// Status of the last answer.
    pub status: Option<u16>,
    /// The server's own error code.
    pub code: Option<String>,
    /// Everything that was said, joined.
    pub text: String,
    /// Region that the server named.
    pub region: Option<String>,
    /// Server's clock minus ours, seconds, if the answer was dated.
    pub skew_s: Option<i64>,
    /// Whether the answer was a web page.
    pub is_html: bool,
    /// How the request failed if no answer came.
    pub network: Option<NetworkFailure>,
    /// Whether it was not the store that was asked, but a service that gives an identity its credentials.
    pub is_of_identity: bool,
}

/// Why a store refused or could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The access key id is not known there.
    UnknownKeyId,
    /// The signature is wrong: the secret does not belong to the key id.
    WrongSecret,
    /// Temporary credentials have run out.
    ExpiredCredentials,
    /// No credentials could be obtained.
    NoCredentials,
    /// Who gives credentials to an identity does not give them to this one.
    IdentityRefused,
    /// The credentials are good but may not do this.
    Denied {
        /// The permission by its name.
        permission: String,
    },
    /// The key management service refused.
    KmsDenied,
    /// This machine's clock is too far off.
    ClockSkew {
        /// Server's clock minus ours, seconds, if it is known.
        by_s: Option<i64>,
    },
    /// The bucket or container does not exist.
    NoSuchBucket,
    /// The object (or upload) does not exist.
    NoSuchObject,
    /// Parts of an upload that the store had acknowledged are not there at its end.
    PartsLost,
    /// The bucket lies in another region.
    WrongRegion {
        /// The region that the server named.
        region: Option<String>,
    },
    /// The account's quota is used up.
    Quota,
    /// The store has no room.
    StoreFull,
    /// The store asks to slow down.
    Throttled,
    /// The store reported an error of its own.
    ServerError,
    /// What arrived is not what was sent.
    Corrupted,
    /// The key is taken.
    Taken,
    /// The object is locked against change.
    Locked,
    /// The bucket takes no ACLs.
    AclDisabled,
    /// The store does not know what it was asked for.
    NotSupported,
    /// The host name cannot be resolved.
    Dns,
    /// Nothing listens there.
    Refused,
    /// A proxy stands between and refuses.
    Proxy,
    /// The certificate is for another name.
    WrongName,
    /// The certificate has expired or does not hold yet.
    CertificateExpired,
    /// The certificate is not trusted, or the connection could not be secured.
    Tls,
    /// `https` was asked of a server that speaks `http`.
    EndpointIsHttp,
    /// `http` was asked of a server that speaks `https`.
    EndpointIsHttps,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    ConnectionLost,
    /// Whatever answers there is not an object store (a login page, a proxy).
    NotAStore,
    /// Anything else; the words of the server follow.
    Other,
}

/// Finds the cause of a failed request.
pub(super) fn diagnose(seen: &FailureDetails, verb: Verb, provider: Provider) -> Cause {
    by_identity(seen)
        .or_else(|| by_code(seen, verb, provider))
        .or_else(|| by_text(&seen.text, verb, provider))
        .or_else(|| by_status(seen, verb, provider))
        .or_else(|| seen.network.map(|network| by_network(network, &seen.text)))
        .unwrap_or_else(|| by_shape(seen))
}

/// A service that gives credentials refused: its status says nothing about the store.
fn by_identity(seen: &FailureDetails) -> Option<Cause> {
    let is_refusal = seen.status.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429);
    if !seen.is_of_identity || !is_refusal {
        return None;
    }
    let says = |words: &[&str]| words.iter().any(|word| seen.text.contains(word));
    Some(match seen.code.as_deref() {
        Some("ExpiredTokenException" | "ExpiredToken") => Cause::ExpiredCredentials,
        // It is asked too often, or whoever vouches for the identity is out of reach: that passes.
        Some("Throttling" | "ThrottlingException") => Cause::Throttled,
        Some("IDPCommunicationError" | "temporarily_unavailable") => Cause::ServerError,
        // Microsoft's numbers: an assertion outside its time, a secret that has run out, a wrong secret.
        _ if says(&["AADSTS700024", "AADSTS7000222"]) => Cause::ExpiredCredentials,
        _ if says(&["AADSTS7000215"]) => Cause::WrongSecret,
        _ => Cause::IdentityRefused,
    })
}

fn denied(verb: Verb, provider: Provider) -> Cause {
    Cause::Denied { permission: verb.permission(provider).to_owned() }
}

fn by_code(seen: &FailureDetails, verb: Verb, provider: Provider) -> Option<Cause> {
    Some(match seen.code.as_deref()? {
        "InvalidAccessKeyId" | "NotSignedUp" => Cause::UnknownKeyId,
        // Azure says this of a wrong key, of a signature that has run out, and of a clock that is off.
        "AuthenticationFailed" => by_text(&seen.text, verb, provider).unwrap_or(Cause::WrongSecret),
        "SignatureDoesNotMatch" | "AuthorizationFailure" | "InvalidToken" => Cause::WrongSecret,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "ExpiredAuthenticationToken" => {
            Cause::ExpiredCredentials
        }
        "RequestTimeTooSkewed" => Cause::ClockSkew { by_s: seen.skew_s },
        "AccessDenied" => return access_denied(seen, verb, provider),
        "AuthorizationPermissionMismatch" | "AllAccessDisabled" | "AccountProblem" => denied(verb, provider),
        "NoSuchBucket" | "ContainerNotFound" | "ResourceNotFound" | "InvalidBucketName" => Cause::NoSuchBucket,
        "NoSuchKey" | "BlobNotFound" | "NoSuchUpload" => Cause::NoSuchObject,
        // Azure forgets blocks after a week, and when another writer commits the blob.
        "InvalidPart" | "InvalidBlockList" => Cause::PartsLost,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Cause::WrongRegion { region: seen.region.clone() },
        "QuotaExceeded" | "ServiceQuotaExceeded" => Cause::Quota,
        "XMinioStorageFull" | "InsufficientStorage" => Cause::StoreFull,
        "SlowDown" | "ServerBusy" | "TooManyRequests" | "RequestLimitExceeded" => Cause::Throttled,
        "InternalError" | "ServiceUnavailable" | "OperationTimedOut" => Cause::ServerError,
        "RequestTimeout" => Cause::Timeout,
        "BadDigest" | "InvalidDigest" | "Md5Mismatch" | "Crc64Mismatch" | "XAmzContentSHA256Mismatch" => {
            Cause::Corrupted
        }
        "PreconditionFailed" | "BlobAlreadyExists" | "ConditionNotMet" => Cause::Taken,
        "ObjectLocked" | "BlobImmutableDueToPolicy" | "InvalidRetentionPeriod" => Cause::Locked,
        "AccessControlListNotSupported" => Cause::AclDisabled,
        "NotImplemented" | "MethodNotAllowed" => Cause::NotSupported,
        // Azure cannot read the source of a copy by the address and the authorization that it was given.
        "CannotVerifyCopySource" if seen.status.is_some_and(|status| status < 500) => Cause::NotSupported,
        _ => return None,
    })
}

/// `AccessDenied` is what several servers say for everything; their text tells more.
fn access_denied(seen: &FailureDetails, verb: Verb, provider: Provider) -> Option<Cause> {
    by_text(&seen.text, verb, provider).or_else(|| Some(denied(verb, provider)))
}

fn by_text(text: &str, verb: Verb, provider: Provider) -> Option<Cause> {
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    Some(match () {
        () if says(&["kms:", "KMS."]) => Cause::KmsDenied,
        () if says(&["not authorized to perform: "]) => {
            Cause::Denied { permission: named_permission(text, verb, provider) }
        }
        () if says(&["does not have storage."]) => Cause::Denied { permission: googles_permission(text, verb) },
        () if says(&["protected by object lock", "WORM protected"]) => Cause::Locked,
        () if says(&["Signature not valid in the specified time frame"]) => Cause::ExpiredCredentials,
        () if says(&["Invalid signature"]) => Cause::WrongSecret,
        () if says(&["difference between the request time", "Date is too old", "Request date header too old"]) => {
            Cause::ClockSkew { by_s: None }
        }
        () if says(&["/latest/api/token", "/latest/meta-data", "metadata.google.internal", "169.254.169.254"]) => {
            Cause::NoCredentials
        }
        () if says(&["Failed to read token file", "Error reading federated token file"]) => Cause::NoCredentials,
        () if says(&["NotValidForName", "not valid for name"]) => Cause::WrongName,
        () if says(&["unsuccessful tunnel", "tunnel error", "proxy authorization required", "proxy connect"]) => {
            Cause::Proxy
        }
        () if says(&["certificate expired", "certificate not valid yet", "CertificateExpired"]) => {
            Cause::CertificateExpired
        }
        () if says(&["invalid peer certificate", "UnknownIssuer"]) => Cause::Tls,
        () if says(&["InvalidContentType", "corrupt message"]) => Cause::EndpointIsHttp,
        () if says(&["invalid HTTP version parsed"]) => Cause::EndpointIsHttps,
        () if says(&["dns error", "Name or service not known", "failed to lookup address"]) => Cause::Dns,
        () if says(&["Connection refused"]) => Cause::Refused,
        () => return None,
    })
}

/// The action of AWS's "… is not authorized to perform: s3:PutObject on resource …".
fn named_permission(text: &str, verb: Verb, provider: Provider) -> String {
    let action = text.split("not authorized to perform: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    action.map_or_else(|| verb.permission(provider).to_owned(), str::to_owned)
}

/// The permission of Google's "… does not have storage.objects.create access to …".
fn googles_permission(text: &str, verb: Verb) -> String {
    let named = text.split("does not have ").nth(1).and_then(|rest| rest.split_whitespace().next());
    named.map_or_else(|| verb.permission(Provider::Gcs).to_owned(), str::to_owned)
}

fn by_status(seen: &FailureDetails, verb: Verb, provider: Provider) -> Option<Cause> {
    Some(match seen.status? {
        301 | 307 | 308 => Cause::WrongRegion { region: seen.region.clone() },
        401 => Cause::WrongSecret,
        407 => Cause::Proxy,
        403 if seen.skew_s.is_some_and(|s| s.abs() > MAX_SKEW_S) => Cause::ClockSkew { by_s: seen.skew_s },
        403 => denied(verb, provider),
        404 => Cause::NoSuchObject,
        409 | 412 => Cause::Taken,
        408 | 504 => Cause::Timeout,
        429 | 503 => Cause::Throttled,
        501 => Cause::NotSupported,
        507 => Cause::StoreFull,
        500..=599 => Cause::ServerError,
        200..=299 if seen.is_html => Cause::NotAStore,
        _ => return None,
    })
}

/// S3 refuses signatures that are further off than this.
const MAX_SKEW_S: i64 = 900;

fn by_network(network: NetworkFailure, text: &str) -> Cause {
    match network {
        NetworkFailure::Connect if text.contains("timed out") => Cause::Timeout,
        NetworkFailure::Connect => Cause::Refused,
        NetworkFailure::Timeout => Cause::Timeout,
        NetworkFailure::Lost => Cause::ConnectionLost,
        NetworkFailure::Other => Cause::Other,
    }
}

fn by_shape(seen: &FailureDetails) -> Cause {
    let lacks = ["ETag Header missing", "missing field `UploadId`", "missing field `ETag`"];
    if seen.is_html || lacks.iter().any(|l| seen.text.contains(l)) { Cause::NotAStore } else { Cause::Other }
}

impl Cause {
    /// What to do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::UnknownKeyId
            | Self::WrongSecret
            | Self::ExpiredCredentials
            | Self::NoCredentials
            | Self::IdentityRefused
            | Self::Denied { .. }
            | Self::KmsDenied
            | Self::ClockSkew { .. }
            | Self::NoSuchBucket
            | Self::WrongRegion { .. }
            | Self::Quota
            | Self::StoreFull
            | Self::AclDisabled
            | Self::Proxy
            | Self::WrongName
            | Self::CertificateExpired
            | Self::Tls
            | Self::EndpointIsHttp
            | Self::EndpointIsHttps
            | Self::NotSupported
            | Self::NotAStore => Class::Environment,
            Self::Taken | Self::Locked => Class::Permanent,
            _ => Class::Transient,
        }
    }

    /// What the operator can do next.
    pub fn advice(&self) -> String {
        match self {
            Self::UnknownKeyId => "Check the access key id and that it belongs to this endpoint.".into(),
            Self::WrongSecret => "Check the secret (account key, SAS, token): it does not match the key id.".into(),
            Self::ExpiredCredentials => "Renew the temporary credentials, then send SIGHUP or restart.".into(),
            Self::NoCredentials => "Set credentials in the environment or in `credential_files`.".into(),
            Self::IdentityRefused => {
                "Check the role, client and tenant ids and the trust policy; if the credentials come from an \
                 interactive login, log in again."
                    .into()
            }
            Self::Denied { permission } => format!("Grant {permission} on this bucket and prefix."),
            Self::KmsDenied => "Grant kms:GenerateDataKey and kms:Decrypt on the bucket's key.".into(),
            Self::ClockSkew { by_s: Some(s) } => format!("Set this machine's clock: it is {} s off.", s.abs()),
            Self::ClockSkew { by_s: None } => "Set this machine's clock.".into(),
            Self::NoSuchBucket => "Create the bucket (container), or correct the target's `url`.".into(),
            Self::NoSuchObject => "It was removed from the store, or was never stored.".into(),
            Self::PartsLost => "It is uploaded again from the beginning.".into(),
            Self::WrongRegion { region: Some(r) } => format!("Set `region = \"{r}\"` for this target."),
            Self::WrongRegion { region: None } => "Set the target's `region` or `endpoint`.".into(),
            Self::Quota | Self::StoreFull => "Free space in the store or raise its quota.".into(),
            Self::Throttled | Self::ServerError => "The store is busy; the request is retried automatically.".into(),
            Self::Corrupted => {
                "It is uploaded again; if this happens often, check this machine's memory and network.".into()
            }
            Self::Taken => "Another writer took the key.".into(),
            Self::Locked => "The object is under retention or legal hold.".into(),
            Self::AclDisabled => "Remove `acl` from this target: the bucket's owner owns every object.".into(),
            Self::Proxy => "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY of this process.".into(),
            Self::WrongName => "Correct the host name in `endpoint`, or set `path_style = true`.".into(),
            Self::NotSupported => {
                "The store does not support a setting of this target (storage class, metadata).".into()
            }
            Self::Dns => "Check the endpoint's host name and this machine's resolver.".into(),
            Self::Refused => "Check the endpoint's host and port, and that the store is running.".into(),
            Self::CertificateExpired => "Renew the store's certificate, or set this machine's clock.".into(),
            Self::Tls => {
                "Trust the store's certificate on this machine (SSL_CERT_FILE), or correct the host name.".into()
            }
            Self::EndpointIsHttp => "The endpoint uses HTTP: write `http://` in `endpoint`.".into(),
            Self::EndpointIsHttps => "The endpoint uses HTTPS: write `https://` in `endpoint`.".into(),
            Self::Timeout | Self::ConnectionLost => "It is retried automatically.".into(),
            Self::NotAStore => {
                "Check `endpoint`: the server there is not an object store (a proxy or a login page, for example)."
                    .into()
            }
            Self::Other => "It is retried automatically; see the store's message above.".into(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { permission } => write!(f, "permission missing: {permission}"),
            Self::ClockSkew { by_s: Some(s) } => write!(f, "this machine's clock is {} s off", s.abs()),
            Self::WrongRegion { region: Some(r) } => write!(f, "the bucket is in region {r}"),
            other => f.write_str(other.plain()),
        }
    }
}

impl Cause {
    const fn plain(&self) -> &'static str {
        match self {
            Self::UnknownKeyId => "the access key id is unknown to the store",
            Self::WrongSecret => "the secret is wrong",
            Self::ExpiredCredentials => "the credentials have expired",
            Self::NoCredentials => "no credentials could be obtained",
            Self::IdentityRefused => "the identity is not accepted",
            Self::Denied { .. } => "permission missing",
            Self::KmsDenied => "the key management service refused the request",
            Self::ClockSkew { .. } => "this machine's clock is off",
            Self::NoSuchBucket => "the bucket does not exist",
            Self::NoSuchObject => "the object does not exist",
            Self::PartsLost => "parts of the upload are missing in the store",
            Self::WrongRegion { .. } => "the bucket is in another region",
            Self::Quota => "the quota is exceeded",
            Self::StoreFull => "the store is full",
            Self::Throttled => "the store is throttling requests",
            Self::ServerError => "the store reported an internal error",
            Self::Corrupted => "the data received by the store differs from the data sent",
            Self::Taken => "the key is already in use",
            Self::Locked => "the object is locked",
            Self::AclDisabled => "the bucket does not accept ACLs",
            Self::Proxy => "the proxy refused the request",
            Self::WrongName => "the certificate is for another host name",
            Self::NotSupported => "the store does not support this",
            Self::Dns => "the host name cannot be resolved",
            Self::Refused => "connection refused",
            Self::CertificateExpired => "the certificate has expired or is not valid yet",
            Self::Tls => "the certificate is not trusted",
            Self::EndpointIsHttp => "the endpoint uses HTTP, not HTTPS",
            Self::EndpointIsHttps => "the endpoint uses HTTPS, not HTTP",
            Self::Timeout => "the request timed out",
            Self::ConnectionLost => "the connection was lost",
            Self::NotAStore => "the server there is not an object store",
            Self::Other => "the store refused the request",
        }
    }
}

#[cfg(test)]
mod tests;
