//! A client of one's own for each store, to see what a delivery left there without asking the program itself.

use aftercast::deliver::{MemoryBucket, MemoryObject, TargetOptions};
use futures::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{Attribute, GetOptions, ObjectStore, PutOptions};

fn secret(options: &TargetOptions, name: &str) -> String {
    std::fs::read_to_string(&options.credential_files[name]).unwrap()
}

fn s3_client(options: &TargetOptions) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(options.endpoint.clone().unwrap())
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(options.url.split('/').nth(2).unwrap())
        .with_access_key_id(secret(options, "access_key_id"))
        .with_secret_access_key(secret(options, "secret_access_key"))
        .build()
        .unwrap()
}

/// Begins an upload in parts to S3, as another program would, and leaves it open.
pub fn begin_upload(options: &TargetOptions, key: &str) -> String {
    let (client, key) = (s3_client(options), Key::parse(key).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.create_multipart(&key)).unwrap()
}

fn client(options: &TargetOptions) -> Box<dyn ObjectStore> {
    let bucket = options.url.split('/').nth(2).unwrap();
    match options.url.split(':').next().unwrap() {
        "s3" => Box::new(s3_client(options)),
        "az" => Box::new(
            MicrosoftAzureBuilder::new()
                .with_endpoint(options.endpoint.clone().unwrap())
                .with_allow_http(true)
                .with_account("devstoreaccount1")
                .with_access_key(super::stores::AZURE_KEY)
                .with_container_name(bucket)
                .build()
                .unwrap(),
        ),
        "gs" => Box::new(
            GoogleCloudStorageBuilder::new()
                .with_client_options(object_store::ClientOptions::new().with_allow_http(true))
                .with_bucket_name(bucket)
                .with_service_account_key(secret(options, "service_account"))
                .build()
                .unwrap(),
        ),
        other => panic!("no client for {other}"),
    }
}

/// An object as another client sees it.
#[derive(Debug, Default)]
pub struct ClientObject {
    pub content_type: String,
    pub cache_control: String,
    /// User metadata by name; Azure has `_` where the others have `-`.
    pub metadata: std::collections::BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

fn see_in_memory(bucket: &MemoryBucket, key: &str) -> ClientObject {
    let MemoryObject { bytes, headers: mut metadata } = bucket.object(key).unwrap();
    let mut take = |name: &str| metadata.remove(name).unwrap_or_default();
    let (content_type, cache_control) = (take("content-type"), take("cache-control"));
    ClientObject { content_type, cache_control, metadata, bytes }
}

pub fn see(options: &TargetOptions, key: &str) -> ClientObject {
    if let Some((bucket, _)) = super::memory::bucket_of(options) {
        return see_in_memory(&bucket, key);
    }
    let client = client(options);
    let key = Key::parse(key).unwrap();
    let look = async {
        let found = client.get_opts(&key, GetOptions::default()).await.unwrap();
        let attributes = found.attributes.clone();
        (attributes, found.bytes().await.unwrap().to_vec())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (attributes, bytes) = runtime.block_on(look);
    let mut seen = ClientObject { bytes, ..ClientObject::default() };
    for (attribute, value) in &attributes {
        let value = value.as_ref().to_owned();
        match attribute {
            Attribute::ContentType => seen.content_type = value,
            Attribute::CacheControl => seen.cache_control = value,
            Attribute::Metadata(name) => drop(seen.metadata.insert(name.replace('_', "-"), value)),
            _ => {}
        }
    }
    seen
}

/// All keys of a bucket, but for the probes of ours that come and go.
pub fn keys(options: &TargetOptions) -> Vec<String> {
    let client = client(options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listed: Vec<_> = runtime.block_on(client.list(None).try_collect()).unwrap();
    let mut keys: Vec<String> = listed.into_iter().map(|found| found.location.to_string()).collect();
    keys.retain(|key| !super::stores::is_probe(key));
    keys.sort();
    keys
}

/// Puts an object there, as another program would.
pub fn put(options: &TargetOptions, key: &str, bytes: Vec<u8>) {
    let (client, key) = (client(options), Key::parse(key).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.put_opts(&key, bytes.into(), PutOptions::default())).unwrap();
}
