//! A fake of Google's XML interface with what no emulator has: `x-goog-hash`, generations, preconditions, `compose`, the list of
//! unfinished uploads, and refusals (bucket `locked`: 401, bucket `denied`: 403 on writing). What lies in the bucket `aged` is from
//! long ago; the bucket `plain` tells no generations, as what only imitates the interface.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use aftercast::deliver::TargetOptions;
use jiff::Timestamp;

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
    modified: Timestamp,
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
            let mut answer = answer(&mut state.lock().unwrap(), &request);
            if request.path().starts_with("/plain/") {
                answer.headers.retain(|(name, _)| name != "x-goog-generation");
            }
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
    let is_kept = |n: &str| ["content-type", "cache-control", CLASS].contains(&n) || n.starts_with("x-goog-meta-");
    request.headers.iter().filter(|(n, _)| is_kept(n)).cloned().collect()
}

const CLASS: &str = "x-goog-storage-class";

impl Object {
    fn class(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == CLASS).map_or("STANDARD", |(_, class)| class)
    }
}

/// The path that a request is for, as the names of objects stand in XML.
fn path_of(request: &Request) -> String {
    percent_encoding::percent_decode_str(request.path()).decode_utf8().unwrap().into_owned()
}

fn answer(state: &mut State, request: &Request) -> Response {
    let path = path_of(request);
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
        ("PUT", ..) if request.query("compose").is_some() => compose(state, request),
        ("PUT", ..) => put(state, request),
        ("DELETE", ..) => delete(state, request),
        ("GET", ..) if request.query("list-type").is_some() => list(state, request),
        ("HEAD" | "GET", ..) => get(state, request),
        _ => Response::error(501, "NotImplemented"),
    }
}

fn store(state: &mut State, path: String, bytes: Vec<u8>, headers: Vec<(String, String)>) -> Response {
    state.generation += 1;
    let generation = state.generation;
    let hash = hash(&bytes);
    let modified = if path.starts_with("/aged/") { "2026-01-02T03:04:05Z".parse().unwrap() } else { Timestamp::now() };
    state.objects.insert(path, Object { bytes, headers, generation, modified });
    let etag = format!("\"g{generation}\"");
    Response::new(200)
        .with("etag", &etag)
        .with("x-goog-generation", &generation)
        .with("x-goog-hash", &format!("crc32c={hash}"))
}

fn put(state: &mut State, request: &Request) -> Response {
    let path = path_of(request);
    if !meets_condition(state, &path, request) {
        return Response::error(412, "PreconditionFailed");
    }
    store(state, path, request.body.clone(), kept(request))
}

/// Whether what is there has the generation that a request wants; 0 is that of nothing.
fn meets_condition(state: &State, path: &str, request: &Request) -> bool {
    let now = state.objects.get(path).map_or(0, |object| object.generation);
    request.header("x-goog-if-generation-match").is_none_or(|wanted| wanted == now.to_string())
}

/// Puts objects together: "Compose an object" of the XML interface. Generations that were replaced are not kept here.
fn compose(state: &mut State, request: &Request) -> Response {
    let (path, said) = (path_of(request), String::from_utf8_lossy(&request.body).into_owned());
    let bucket = path.split('/').nth(1).unwrap_or_default();
    let components: Vec<&str> = said.split("<Component>").skip(1).collect();
    if components.is_empty() || components.len() > 32 || !said.starts_with("<ComposeRequest>") {
        return Response::error(400, "InvalidArgument");
    }
    if !meets_condition(state, &path, request) {
        return Response::error(412, "PreconditionFailed");
    }
    let (mut bytes, mut classes) = (Vec::new(), Vec::new());
    for component in components {
        let text =
            |tag: &str| component.split_once(&format!("<{tag}>"))?.1.split_once("</").map(|(text, _)| unescaped(text));
        let name = text("Name").unwrap_or_default();
        let Some(object) = state.objects.get(&format!("/{bucket}/{name}")) else {
            return Response::error(404, "NoSuchKey");
        };
        let generation = object.generation.to_string();
        if text("Generation").is_some_and(|wanted| wanted != generation) {
            return Response::error(404, "NoSuchKey");
        }
        if text("IfGenerationMatch").is_some_and(|wanted| wanted != generation) {
            return Response::error(412, "PreconditionFailed");
        }
        bytes.extend(&object.bytes);
        classes.push((CLASS.to_owned(), object.class().to_owned()));
    }
    classes.dedup();
    if classes.len() > 1 || request.header(CLASS).is_some() {
        return Response::error(400, "InvalidArgument");
    }
    store(state, path, bytes, [kept(request), classes].concat())
}

fn unescaped(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (name, character)| text.replace(name, character))
}

fn delete(state: &mut State, request: &Request) -> Response {
    let path = path_of(request);
    let is_there = state
        .objects
        .get(&path)
        .is_some_and(|object| request.query("generation").is_none_or(|wanted| wanted == object.generation.to_string()));
    if !is_there {
        return Response::error(404, "NoSuchKey");
    }
    state.objects.remove(&path);
    Response::new(204)
}

fn begin(state: &mut State, request: &Request) -> Response {
    state.generation += 1;
    let id = format!("upload-{}", state.generation);
    let upload = Upload { path: path_of(request), headers: kept(request), parts: BTreeMap::new() };
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

fn list(state: &State, request: &Request) -> Response {
    let decoded = |name| percent_encoding::percent_decode_str(request.query(name).unwrap_or("")).decode_utf8().unwrap();
    let (prefix, delimiter) = (decoded("prefix"), decoded("delimiter"));
    let bucket = format!("/{}/", path_of(request).trim_matches('/'));
    let contents = state.objects.iter().filter_map(|(path, object)| {
        let (key, size) = (path.strip_prefix(&bucket)?, object.bytes.len());
        let below = key.strip_prefix(&*prefix)?;
        if !delimiter.is_empty() && below.contains(&*delimiter) {
            return None;
        }
        let modified = object.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z");
        let (key, etag) = (quick_xml::escape::escape(key), format!("&quot;g{}&quot;", object.generation));
        Some(format!(
            "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><ETag>{etag}</ETag><Size>{size}</Size></Contents>"
        ))
    });
    let contents: String = contents.collect();
    Response::new(200).saying(format!("<ListBucketResult><KeyCount>1</KeyCount>{contents}</ListBucketResult>"))
}

fn get(state: &State, request: &Request) -> Response {
    let Some(object) = state.objects.get(&path_of(request)) else { return Response::error(404, "NoSuchKey") };
    let etag = format!("\"g{}\"", object.generation);
    if request.header("if-match").is_some_and(|wanted| wanted != etag) {
        return Response::error(412, "PreconditionFailed");
    }
    let len = object.bytes.len();
    let range = request.header("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.parse::<usize>().map_or(len, |end| (end + 1).min(len))))
    });
    let answer = match range {
        Some((start, end)) if start < end => Response::new(206)
            .with("content-range", &format!("bytes {start}-{}/{len}", end - 1))
            .saying(&object.bytes[start..end]),
        Some(_) => return Response::error(416, "InvalidRange"),
        None => Response::new(200).saying(object.bytes.clone()),
    };
    let mut answer = answer
        .with("etag", &etag)
        .with("last-modified", &object.modified.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        .with("x-goog-generation", &object.generation)
        .with("x-goog-hash", &format!("crc32c={}", hash(&object.bytes)));
    answer.headers.extend(object.headers.iter().filter(|(name, _)| name != CLASS).cloned());
    answer.with(CLASS, object.class())
}
