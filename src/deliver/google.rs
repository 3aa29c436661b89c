//! Builds `object_store`'s client for Google Cloud Storage; see [`backend`](super::backend) for what holds for all.

use std::path::Path;
use std::sync::Arc;

use object_store::client::HttpConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use serde_json::Value;

use super::TargetOptions;
use super::backend::{Backend, client, no_credentials, refused, retry, uplink};
use super::credentials::{Environment, SecretSetting, is_yes, unknown};
use super::diagnose::Provider;
use super::error::{DeliverError, Result};
use super::location::endpoint;
use super::wire::{BucketClient, SigningKeys};
use crate::durable::FileError;
use crate::recording::name::printable;

const GCS_CREDENTIALS: &str = "service_account (a JSON key file)";
const GOOGLES_OWN: &str = "https://storage.googleapis.com";
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
    secrets: &[SecretSetting],
) -> Result<Backend> {
    let (mut builder, credentials) = match secrets {
        [] => from_environment(options, environment)?,
        secrets => from_secrets(options, secrets)?,
    };
    let own = || credentials.as_ref().and_then(|credentials| credentials.base_url.as_deref());
    let set: Option<String> = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    let base = options.endpoint.as_deref().or(set.as_deref()).or_else(own).unwrap_or(GOOGLES_OWN);
    let base = endpoint(&options.name, base)?;
    let is_http = base.scheme() == "http";
    let base = base.as_str().trim_end_matches('/');
    builder = builder.with_config(GoogleConfigKey::BaseUrl, base);
    let is_open = builder.get_config_value(&GoogleConfigKey::SkipSignature).is_some_and(|skips| is_yes(&skips));
    let built = builder
        .with_bucket_name(bucket)
        .with_client_options(client(is_http))
        .with_retry(retry())
        .with_http_connector(uplink(options))
        .build();
    let store = Arc::new(built.map_err(|error| match &credentials {
        Some(ParsedCredentials { from, .. }) => {
            DeliverError::configuration(&options.name, format!("{from}: {}", crate::fault::chain(&error)), GCS_ADVICE)
        }
        // Its reason may quote a login file or an account that was not looked at here.
        None if matches!(error, object_store::Error::Generic { .. }) => {
            let said = "the credentials of the environment cannot be read";
            DeliverError::configuration(&options.name, said, GCS_ADVICE)
        }
        None => refused(options)(error),
    })?);
    let client = uplink(options).connect(&client(is_http)).map_err(refused(options))?;
    let keys = if is_open { SigningKeys::None } else { SigningKeys::Google(store.credentials().clone()) };
    let wire = BucketClient { client, bucket: format!("{base}/{bucket}"), name: bucket.to_owned(), keys };
    let backend = Backend::of(options, Provider::Gcs, store.clone(), store.clone());
    Ok(Backend { wire: Some(Arc::new(wire)), signer: Some(store.clone()), pages: Some(store), ..backend })
}

/// What a text of credentials says beside secrets.
struct ParsedCredentials {
    /// Where it comes from, in words.
    from: String,
    /// The address that it names instead of Google's own.
    base_url: Option<String>,
}

/// What may stand in such a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AllowedCredentials {
    BeAnAccount,
    BeALoginToo,
}

impl ParsedCredentials {
    /// Looks whether a text is what it should be. What it is instead is said without showing any of it, unlike a parser.
    fn read(options: &TargetOptions, from: String, text: &str, may: AllowedCredentials) -> Result<Self> {
        let wrong = |problem: String| {
            DeliverError::configuration(
                &options.name,
                format!("{from} are not valid credentials: {problem}"),
                GCS_ADVICE,
            )
        };
        let value: Value = serde_json::from_str(text).map_err(|_| wrong("they are not JSON".into()))?;
        let text_of = |name: &str| value.get(name).and_then(Value::as_str);
        let wanted = match (text_of("type"), may) {
            (Some("authorized_user"), AllowedCredentials::BeALoginToo) => {
                ["client_id", "client_secret", "refresh_token"]
            }
            (Some("service_account"), _) | (None, AllowedCredentials::BeAnAccount) => {
                ["private_key", "private_key_id", "client_email"]
            }
            _ if may == AllowedCredentials::BeAnAccount => {
                return Err(wrong("their `type` is not `service_account`".into()));
            }
            _ => return Err(wrong("their `type` is neither `service_account` nor `authorized_user`".into())),
        };
        if let Some(missing) = wanted.into_iter().find(|name| text_of(name).is_none()) {
            return Err(wrong(format!("they have no text field `{missing}`")));
        }
        if value.get("disable_oauth").is_some_and(|disables| !disables.is_boolean()) {
            return Err(wrong("their `disable_oauth` is neither true nor false".into()));
        }
        if value.get("gcs_base_url").is_some_and(|url| !url.is_string() && !url.is_null()) {
            return Err(wrong("their `gcs_base_url` is not text".into()));
        }
        // Of what an application is given Google's address is not taken.
        let base_url = text_of("gcs_base_url").filter(|_| may == AllowedCredentials::BeAnAccount).map(str::to_owned);
        Ok(Self { from, base_url })
    }

    fn read_file(options: &TargetOptions, name: &str, path: &Path, may: AllowedCredentials) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(FileError::on("read", path));
        let text = text.map_err(|error| {
            let problem = format!("`{name}`: {}", crate::fault::chain(&error));
            DeliverError::configuration(&options.name, problem, GCS_ADVICE)
        })?;
        Self::read(options, format!("`{name}`: the contents of `{}`", printable(path)), &text, may)
    }
}

type GoogleBuilder = (GoogleCloudStorageBuilder, Option<ParsedCredentials>);

fn from_secrets(options: &TargetOptions, secrets: &[SecretSetting]) -> Result<GoogleBuilder> {
    let (mut builder, mut credentials) = (GoogleCloudStorageBuilder::new(), None);
    for secret in secrets {
        match secret.name.as_str() {
            "service_account" | "service_account_key" => {
                let from = format!("`credential_files`: the contents of `{}`", secret.name);
                credentials =
                    Some(ParsedCredentials::read(options, from, &secret.value, AllowedCredentials::BeAnAccount)?);
                builder = builder.with_service_account_key(&secret.value);
            }
            other => return Err(unknown(options, other, GCS_CREDENTIALS)),
        }
    }
    Ok((builder, credentials))
}

fn from_environment(options: &TargetOptions, environment: &Environment) -> Result<GoogleBuilder> {
    let home = environment.get("HOME").unwrap_or("/");
    let logged_in = Path::new(home).join(".config/gcloud/application_default_credentials.json");
    if environment.first(&GCS_VARIABLES).is_none() && !logged_in.exists() {
        return Err(no_credentials(options, GCS_ADVICE));
    }
    let mut builder = GoogleCloudStorageBuilder::new();
    if let Some(path) = environment.get("SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(path);
    }
    for (name, value) in environment.settings("GOOGLE_") {
        match name.parse() {
            Ok(GoogleConfigKey::Bucket | GoogleConfigKey::Client(_)) | Err(_) => {}
            Ok(key) => builder = builder.with_config(key, value),
        }
    }
    let is_set = |name| environment.get(name).is_some();
    if is_set("GOOGLE_BEARER_TOKEN") || is_set("GOOGLE_SKIP_SIGNATURE") {
        return Ok((builder, None));
    }
    let named = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, environment.get(name)?)));
    let accounts = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "SERVICE_ACCOUNT"];
    let credentials = if let Some((name, path)) = named(&accounts) {
        Some(ParsedCredentials::read_file(options, name, Path::new(path), AllowedCredentials::BeAnAccount)?)
    } else if let Some((name, text)) = named(&["GOOGLE_SERVICE_ACCOUNT_KEY"]) {
        Some(ParsedCredentials::read(
            options,
            format!("`{name}`: its contents"),
            text,
            AllowedCredentials::BeAnAccount,
        )?)
    } else if let Some((name, path)) = named(&["GOOGLE_APPLICATION_CREDENTIALS"]) {
        Some(ParsedCredentials::read_file(options, name, Path::new(path), AllowedCredentials::BeALoginToo)?)
    } else if logged_in.exists() {
        Some(ParsedCredentials::read_file(options, "gcloud auth", &logged_in, AllowedCredentials::BeALoginToo)?)
    } else {
        None
    };
    Ok((builder, credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(options: &TargetOptions, environment: &[(&str, &str)]) -> Result<Backend> {
        open(options, "vods", &Environment::of(environment), &[])
    }

    #[test]
    fn unfinished_uploads_are_listed_where_everything_else_goes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let account = r#"{"gcs_base_url":"http://127.0.0.1:1/","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
        std::fs::write(file.path(), account).unwrap();
        let (own, mut set) = (TargetOptions::new("t", "gs://vods"), TargetOptions::new("t", "gs://vods"));
        set.endpoint = Some("http://127.0.0.1:3".into());
        let path = file.path().to_str().unwrap();
        let (by_file, by_text) = (("GOOGLE_SERVICE_ACCOUNT", path), ("GOOGLE_SERVICE_ACCOUNT_KEY", account));
        let by_variable = ("GOOGLE_BASE_URL", "http://127.0.0.1:2");
        let bearer = ("GOOGLE_BEARER_TOKEN", "hush");
        for (options, environment, expected) in [
            (&own, &[bearer][..], "https://storage.googleapis.com/vods"),
            (&own, &[by_file], "http://127.0.0.1:1/vods"),
            (&own, &[by_text], "http://127.0.0.1:1/vods"),
            (&own, &[by_file, by_variable], "http://127.0.0.1:2/vods"),
            (&set, &[by_file, by_variable], "http://127.0.0.1:3/vods"),
        ] {
            let wire = opened(options, environment).unwrap().wire.unwrap();
            assert_eq!(wire.bucket, expected);
        }
        let error = opened(&own, &[bearer, ("GOOGLE_BASE_URL", "127.0.0.1:2")]).unwrap_err();
        assert!(error.is_configuration(), "{error}");
        let open = opened(&own, &[("GOOGLE_SKIP_SIGNATURE", "true")]).unwrap().wire.unwrap();
        assert!(matches!(open.keys, SigningKeys::None), "the machine's identity is not asked for");
    }
}
