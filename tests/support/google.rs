//! A fake of Google's XML interface with what no emulator has: `x-goog-hash`, generations, preconditions, the list of
//! unfinished uploads, and refusals (bucket `locked`: 401, bucket `denied`: 403 on writing).

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use aftercast::deliver::TargetOptions;

use super::http::{Request, Response, read_request, reply, serve};

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    generation: u64,
}

struct Object {
    bytes: Vec<u8>,
    headers: Vec<(String, String)>,
    generation: u64,
}

#[derive(Default)]
struct Upload {
    path: String,
    headers: Vec<(String, String)>,
    parts: BTreeMap<u32, Vec<u8>>,
}

pub struct Google {
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

pub fn google() -> Google {
    let state: Arc<Mutex<State>> = Arc::default();
    let address = serve(move |client: TcpStream| {
        if let Some(request) = read_request(&client, |_, length| length) {
            let answer = answer(&mut state.lock().unwrap(), &request);
            reply(&client, &answer.bytes(request.method == "HEAD"));
        }
    });
    Google { address, directory: tempfile::tempdir().unwrap() }
}

impl Google {
    /// A target in a bucket whose credentials come from elsewhere.
    pub fn without_credentials(&self, bucket: &str) -> TargetOptions {
        let mut options = TargetOptions::new("cloud", &format!("gs://{bucket}/pre"));
        options.endpoint = Some(format!("http://{}", self.address));
        options
    }

    /// A target in a bucket; every bucket is there.
    pub fn bucket(&self, bucket: &str) -> TargetOptions {
        let account = format!(
            r#"{{"gcs_base_url":"http://{}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#,
            self.address
        );
        let path = self.directory.path().join("service-account.json");
        std::fs::write(&path, account).unwrap();
        let mut options = TargetOptions::new("cloud", &format!("gs://{bucket}/pre"));
        options.credential_files.insert("service_account".into(), path);
        options
    }
}

fn hash(bytes: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    super::stores::base64(&crc.to_be_bytes()[4..])
}

fn kept(request: &Request) -> Vec<(String, String)> {
    let is_kept = |n: &str| n == "content-type" || n == "cache-control" || n.starts_with("x-goog-meta-");
    request.headers.iter().filter(|(n, _)| is_kept(n)).cloned().collect()
}

fn answer(state: &mut State, request: &Request) -> Response {
    let path = request.path().to_owned();
    let writes = matches!(request.method.as_str(), "PUT" | "POST" | "DELETE");
    match () {
        () if path.starts_with("/locked/") => return Response::error(401, "AuthenticationRequired"),
        () if path.starts_with("/denied/") && writes => return Response::error(403, "AccessDenied"),
        () => {}
    }
    match (request.method.as_str(), request.query("uploadId"), request.query("uploads")) {
        ("POST", None, Some(_)) => begin(state, request),
        ("PUT", Some(id), _) => put_part(state, id, request),
        ("POST", Some(id), _) => complete(state, id),
        ("DELETE", Some(id), _) => match state.uploads.remove(id) {
            Some(_) => Response::new(204),
            None => Response::error(404, "NoSuchUpload"),
        },
        ("GET", None, Some(_)) => list_uploads(state, &path),
        ("PUT", ..) => put(state, request),
        ("DELETE", ..) => match state.objects.remove(&path) {
            Some(_) => Response::new(204),
            None => Response::error(404, "NoSuchKey"),
        },
        ("GET", ..) if request.query("list-type").is_some() => list(state, &path),
        ("HEAD" | "GET", ..) => get(state, request),
        _ => Response::error(501, "NotImplemented"),
    }
}

fn store(state: &mut State, path: String, bytes: Vec<u8>, headers: Vec<(String, String)>) -> Response {
    state.generation += 1;
    let generation = state.generation;
    let hash = hash(&bytes);
    state.objects.insert(path, Object { bytes, headers, generation });
    let etag = format!("\"g{generation}\"");
    Response::new(200)
        .with("etag", &etag)
        .with("x-goog-generation", &generation)
        .with("x-goog-hash", &format!("crc32c={hash}"))
}

fn put(state: &mut State, request: &Request) -> Response {
    let is_new = !state.objects.contains_key(request.path());
    if request.header("x-goog-if-generation-match") == Some("0") && !is_new {
        return Response::error(412, "PreconditionFailed");
    }
    store(state, request.path().to_owned(), request.body.clone(), kept(request))
}

fn begin(state: &mut State, request: &Request) -> Response {
    state.generation += 1;
    let id = format!("upload-{}", state.generation);
    let upload = Upload { path: request.path().to_owned(), headers: kept(request), parts: BTreeMap::new() };
    state.uploads.insert(id.clone(), upload);
    Response::new(200).saying(format!(
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
    ))
}

fn put_part(state: &mut State, id: &str, request: &Request) -> Response {
    let Some(upload) = state.uploads.get_mut(id) else { return Response::error(404, "NoSuchUpload") };
    let number = request.query("partNumber").and_then(|n| n.parse().ok()).unwrap_or(0);
    let hash = hash(&request.body);
    upload.parts.insert(number, request.body.clone());
    Response::new(200).with("etag", &format!("\"{number}-{hash}\"")).with("x-goog-hash", &format!("crc32c={hash}"))
}

fn complete(state: &mut State, id: &str) -> Response {
    let Some(upload) = state.uploads.remove(id) else { return Response::error(404, "NoSuchUpload") };
    let bytes = upload.parts.into_values().flatten().collect();
    let stored = store(state, upload.path, bytes, upload.headers);
    let tag = stored.headers[0].1.clone();
    stored.saying(format!("<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"))
}

fn list_uploads(state: &State, path: &str) -> Response {
    let bucket = format!("/{}/", path.trim_matches('/'));
    let uploads = state.uploads.iter().filter_map(|(id, upload)| {
        let key = upload.path.strip_prefix(&bucket)?;
        Some(format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"))
    });
    let uploads: String = uploads.collect();
    Response::new(200).saying(format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
}

fn list(state: &State, path: &str) -> Response {
    let bucket = format!("/{}/", path.trim_matches('/'));
    let contents = state.objects.iter().filter_map(|(path, object)| {
        let (key, size) = (path.strip_prefix(&bucket)?, object.bytes.len());
        Some(format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>"
        ))
    });
    let contents: String = contents.collect();
    Response::new(200).saying(format!("<ListBucketResult><KeyCount>1</KeyCount>{contents}</ListBucketResult>"))
}

fn get(state: &State, request: &Request) -> Response {
    let Some(object) = state.objects.get(request.path()) else { return Response::error(404, "NoSuchKey") };
    let mut answer = Response::new(200)
        .with("etag", &format!("\"g{}\"", object.generation))
        .with("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        .with("x-goog-generation", &object.generation)
        .with("x-goog-hash", &format!("crc32c={}", hash(&object.bytes)))
        .saying(object.bytes.clone());
    answer.headers.extend(object.headers.iter().cloned());
    answer
}
