//! Builds `object_store`'s client for Azure Blob Storage; see [`backend`](super::backend) for what holds for all.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::HttpConnector;
use url::Url;

use super::TargetOptions;
use super::backend::{Backend, client, half_an_identity, no_credentials, refused, retry, uplink};
use super::blocks::BlockClient;
use super::checksum::of_base64;
use super::credentials::{Environment, SecretSetting, is_yes, unknown};
use super::diagnose::Provider;
use super::error::Result;
use super::location::endpoint;
use super::uplink::Resigner;

const AZURE_CREDENTIALS: &str = "account_name, account_key, sas, token, client_id, client_secret, tenant_id";
const AZURE_ADVICE: &str = "Set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or \
    `credential_files`, or a workload identity. To use the machine's managed identity set \
    AZURE_CREDENTIAL_TYPE=managed_identity.";
/// Account and key that every Azure emulator has; published by Microsoft, no secret.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
pub(super) const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Opens the clients for a container.
pub(super) fn open(
    options: &TargetOptions,
    container: &str,
    environment: &Environment,
    secrets: &[SecretSetting],
) -> Result<Backend> {
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
            Ok(key) => {
                builder = builder.with_config(key, &secret.value);
                // What a target names goes before an identity that this machine has besides.
                if let Some(kind) = azure_kind(key) {
                    builder = builder.with_config(AzureConfigKey::CredentialType, kind);
                }
            }
        }
    }
    let builder = azure_address(builder, options, environment, address.as_ref())?;
    let is_http = address.as_ref().is_some_and(|a| a.scheme() == "http");
    let account = builder.get_config_value(&AzureConfigKey::AccountName);
    let account = account.unwrap_or_else(|| EMULATOR_ACCOUNT.to_owned());
    let is_open = is_on(&builder, AzureConfigKey::SkipSignature);
    let (own, account_key) = (own_address(&builder, &account, environment), account_key(&builder));
    let allows_http = is_http || is_on(&builder, AzureConfigKey::UseEmulator);
    let built = builder
        .with_container_name(container)
        .with_client_options(client(is_http))
        .with_retry(retry())
        .with_http_connector(uplink(options))
        .build();
    let store = Arc::new(built.map_err(refused(options))?);
    let blocks = BlockClient {
        client: uplink(options).connect(&client(allows_http)).map_err(refused(options))?,
        address: format!("{own}/{container}"),
        account: account.clone(),
        container: container.to_owned(),
        credentials: store.credentials().clone(),
        account_key,
    };
    let resigner = Arc::new(Resigner { credentials: store.credentials().clone(), account });
    let backend = Backend::of(options, Provider::Azure, store.clone(), store.clone());
    // Without credentials nothing can be written.
    let blocks = (!is_open).then(|| Arc::new(blocks));
    Ok(Backend { resigner: Some(resigner), signer: Some(store.clone()), pages: Some(store), blocks, ..backend })
}

fn is_on(builder: &MicrosoftAzureBuilder, key: AzureConfigKey) -> bool {
    builder.get_config_value(&key).is_some_and(|value| is_yes(&value))
}

/// The address of the account, as `object_store` finds it.
fn own_address(builder: &MicrosoftAzureBuilder, account: &str, environment: &Environment) -> String {
    if is_on(builder, AzureConfigKey::UseEmulator) {
        let base = environment.get("AZURITE_BLOB_STORAGE_URL").unwrap_or("http://127.0.0.1:10000");
        return format!("{}/{account}", base.trim_end_matches('/'));
    }
    match builder.get_config_value(&AzureConfigKey::Endpoint) {
        Some(endpoint) => endpoint,
        None if is_on(builder, AzureConfigKey::UseFabricEndpoint) => {
            format!("https://{account}.blob.fabric.microsoft.com")
        }
        None => format!("https://{account}.blob.core.windows.net"),
    }
}

/// The account's key, if there is one; the emulator has its published one.
fn account_key(builder: &MicrosoftAzureBuilder) -> Option<Vec<u8>> {
    let set = builder.get_config_value(&AzureConfigKey::AccessKey);
    let published = || is_on(builder, AzureConfigKey::UseEmulator).then(|| EMULATOR_KEY.to_owned());
    of_base64(&set.or_else(published)?)
}

/// The kind of credentials that one of them is, or is the secret part of.
const fn azure_kind(key: AzureConfigKey) -> Option<&'static str> {
    match key {
        AzureConfigKey::AccessKey => Some("access_key"),
        AzureConfigKey::ClientSecret => Some("client_secret"),
        AzureConfigKey::SasKey => Some("sas_token"),
        AzureConfigKey::Token => Some("bearer_token"),
        _ => None,
    }
}

/// Account, endpoint, and the emulator's published key where its account is named without one.
fn azure_address(
    mut builder: MicrosoftAzureBuilder,
    options: &TargetOptions,
    environment: &Environment,
    address: Option<&Url>,
) -> Result<MicrosoftAzureBuilder> {
    let is_set = |b: &MicrosoftAzureBuilder, key| b.get_config_value(&key).is_some_and(|v: String| !v.is_empty());
    if let Some(authority) = builder.get_config_value(&AzureConfigKey::AuthorityHost) {
        // Clusters say it with the slash at its end that is put behind it once more.
        builder = builder.with_authority_host(authority.trim_end_matches('/'));
    }
    let uses_emulator = environment.get("AZURE_STORAGE_USE_EMULATOR").is_some_and(|v| v != "false" && v != "0");
    if let Some(address) = address {
        builder = builder.with_endpoint(address.as_str().trim_end_matches('/').to_owned());
        if !is_set(&builder, AzureConfigKey::AccountName) {
            builder = builder.with_account(account_of(address));
        }
    }
    let account = builder.get_config_value(&AzureConfigKey::AccountName);
    let has_key =
        [AzureConfigKey::AccessKey, AzureConfigKey::SasKey, AzureConfigKey::Token, AzureConfigKey::CredentialType]
            .into_iter()
            .chain([AzureConfigKey::MsiEndpoint])
            .any(|key| is_set(&builder, key));
    let identity = [
        (AzureConfigKey::FederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE"),
        (AzureConfigKey::ClientSecret, "AZURE_CLIENT_SECRET"),
    ];
    let identity = identity.into_iter().find(|(key, _)| is_set(&builder, *key));
    let missing = [(AzureConfigKey::ClientId, "AZURE_CLIENT_ID"), (AzureConfigKey::AuthorityId, "AZURE_TENANT_ID")];
    let missing = missing.into_iter().find(|(key, _)| !is_set(&builder, *key));
    let is_open = ["AZURE_SKIP_SIGNATURE", "AZURE_USE_AZURE_CLI"].iter().any(|n| environment.get(n).is_some());
    match account {
        _ if uses_emulator && address.is_none() => Ok(builder),
        _ if has_key || is_open => Ok(builder),
        _ if let (Some((_, half)), Some((_, other))) = (identity, missing) => {
            Err(half_an_identity(options, half, other, AZURE_ADVICE))
        }
        _ if identity.is_some() => Ok(builder),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_copied_where_everything_else_goes() {
        const KEYS: [(&str, &str); 2] =
            [("AZURE_STORAGE_ACCOUNT_NAME", "someone"), ("AZURE_STORAGE_ACCOUNT_KEY", EMULATOR_KEY)];
        let opened = |endpoint: Option<&str>, more: &[(&str, &str)]| {
            let options = TargetOptions { endpoint: endpoint.map(Into::into), ..TargetOptions::new("t", "az://vods") };
            open(&options, "vods", &Environment::of(&[&KEYS, more].concat()), &[]).unwrap().blocks
        };
        for (endpoint, more, expected) in [
            (None, &[][..], "https://someone.blob.core.windows.net/vods"),
            (None, &[("AZURE_USE_FABRIC_ENDPOINT", "true")], "https://someone.blob.fabric.microsoft.com/vods"),
            (None, &[("AZURE_STORAGE_USE_EMULATOR", "true")], "http://127.0.0.1:10000/someone/vods"),
            (Some("https://blobs.example.org/"), &[], "https://blobs.example.org/vods"),
        ] {
            let blocks = opened(endpoint, more).unwrap();
            assert_eq!(blocks.address, expected);
            assert_eq!(blocks.account_key.as_deref(), of_base64(EMULATOR_KEY).as_deref());
        }
        assert!(opened(None, &[("AZURE_SKIP_SIGNATURE", "true")]).is_none(), "nothing can be written there");
    }
}
