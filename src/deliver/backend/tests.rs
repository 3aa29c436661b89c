//! What a target's settings and the environment make of a client, before any request.

use super::super::azure::EMULATOR_KEY;
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
fn a_profile_serves_where_the_environment_has_no_keys() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let keys = "[studio]\naws_access_key_id = id\naws_secret_access_key = secret\n";
    std::fs::write(home.path().join(".aws/credentials"), keys).unwrap();
    let options = TargetOptions::new("t", "s3://bucket");
    let home = home.path().to_str().unwrap();
    assert!(opened(&options, Provider::S3, &[("HOME", home)]).is_err());
    assert!(opened(&options, Provider::S3, &[("HOME", home), ("AWS_PROFILE", "studio")]).is_ok());
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

#[test]
fn the_bucket_stands_in_the_host_name_or_in_the_path() {
    let address = |endpoint: Option<&str>, path_style, bucket: &str| {
        let mut options = TargetOptions::new("t", "s3://bucket");
        (options.endpoint, options.path_style) = (endpoint.map(str::to_owned), path_style);
        options.region = Some("eu-central-1".into());
        let opened = open(&options, Provider::S3, bucket, &Environment::of(&KEYS));
        opened.map(|backend| backend.wire.unwrap().bucket.clone())
    };
    let own = Some("https://minio.example.org:9000/");
    for (endpoint, path_style, bucket, expected) in [
        (own, None, "vods", "https://minio.example.org:9000/vods"),
        (own, Some(true), "vods", "https://minio.example.org:9000/vods"),
        (own, Some(false), "vods", "https://vods.minio.example.org:9000"),
        (Some("http://[::1]:9000"), None, "vods", "http://[::1]:9000/vods"),
        (None, None, "vods", "https://vods.s3.eu-central-1.amazonaws.com"),
        (None, None, "vods.example.org", "https://s3.eu-central-1.amazonaws.com/vods.example.org"),
        (None, Some(true), "vods", "https://s3.eu-central-1.amazonaws.com/vods"),
        (None, Some(false), "vods.example.org", "https://vods.example.org.s3.eu-central-1.amazonaws.com"),
    ] {
        assert_eq!(address(endpoint, path_style, bucket).unwrap(), expected);
    }
    for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000"] {
        let error = address(Some(endpoint), Some(false), "vods").unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("`path_style = false`"), "{error}");
    }
}

#[test]
fn half_an_identity_is_said_and_does_not_become_that_of_the_machine() {
    let s3 = TargetOptions::new("t", "s3://bucket");
    let mut azure = TargetOptions::new("t", "az://bucket");
    azure.endpoint = Some("https://someone.blob.core.windows.net".into());
    let (role, client, tenant) = (("AWS_ROLE_ARN", "r"), ("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t"));
    let web = ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
    let pod = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    let pods_token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/token");
    let workload = ("AZURE_FEDERATED_TOKEN_FILE", "/token");
    let application = ("AZURE_CLIENT_SECRET", "hush");
    for (options, provider, environment, missing) in [
        (&s3, Provider::S3, &[web][..], "AWS_ROLE_ARN"),
        (&s3, Provider::S3, &[pod], "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        (&azure, Provider::Azure, &[workload], "AZURE_CLIENT_ID"),
        (&azure, Provider::Azure, &[workload, client], "AZURE_TENANT_ID"),
        (&azure, Provider::Azure, &[application, tenant], "AZURE_CLIENT_ID"),
    ] {
        let error = opened(options, provider, environment).unwrap_err();
        assert!(error.is_configuration(), "{error}");
        let said = error.to_string();
        assert!(said.ends_with(&format!(" is set, but {missing} is not")) && !said.contains("hush"), "{said}");
        assert!(said.contains(environment[0].0), "{said}");
    }
    for (options, provider, environment) in [
        (&s3, Provider::S3, &[web, role][..]),
        (&s3, Provider::S3, &[pod, pods_token]),
        (&azure, Provider::Azure, &[workload, client, tenant]),
        (&azure, Provider::Azure, &[application, client, tenant]),
        (&azure, Provider::Azure, &[workload, ("AZURE_STORAGE_ACCOUNT_KEY", EMULATOR_KEY)]),
    ] {
        assert!(opened(options, provider, environment).is_ok(), "{environment:?}");
    }
}

#[test]
fn what_a_target_names_goes_before_what_the_environment_has() {
    let mut s3 = TargetOptions::new("t", "s3://bucket");
    let session = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "of another key"), ("MINE", "mine")];
    let token = |options: &TargetOptions| {
        let wire = opened(options, Provider::S3, &session).unwrap().wire.unwrap();
        let SigningKeys::Aws { credentials, .. } = &wire.keys else { panic!("no keys") };
        let found = futures::executor::block_on(credentials.get_credential()).unwrap();
        (found.key_id.clone(), found.token.clone())
    };
    assert_eq!(token(&s3), ("id".to_owned(), Some("of another key".to_owned())));
    for name in ["access_key_id", "secret_access_key"] {
        s3.credential_files.insert(name.into(), "env:MINE".into());
    }
    assert_eq!(token(&s3), ("mine".to_owned(), None));

    let mut azure = TargetOptions::new("t", "az://bucket");
    azure.endpoint = Some("https://someone.blob.core.windows.net".into());
    let workload = [
        ("AZURE_FEDERATED_TOKEN_FILE", "/nowhere"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TENANT_ID", "t"),
        ("MINE", "sig=mine"),
    ];
    let asked = |options: &TargetOptions| {
        let resigner = opened(options, Provider::Azure, &workload).unwrap().resigner.unwrap();
        futures::executor::block_on(resigner.credentials.get_credential()).map(|found| format!("{found:?}"))
    };
    assert!(asked(&azure).unwrap_err().to_string().contains("federated token file"));
    azure.credential_files.insert("sas".into(), "env:MINE".into());
    assert!(asked(&azure).unwrap().contains("SASToken"));

    azure.credential_files.clear();
    for name in ["client_id", "client_secret", "tenant_id"] {
        azure.credential_files.insert(name.into(), "env:MINE".into());
    }
    for besides in [&workload[..], &[("AZURE_STORAGE_ACCOUNT_KEY", "bXkga2V5"), ("MINE", "mine")]] {
        let resigner = opened(&azure, Provider::Azure, besides).unwrap().resigner.unwrap();
        assert!(format!("{:?}", resigner.credentials).contains("ClientSecretOAuthProvider"), "{besides:?}");
    }
}
