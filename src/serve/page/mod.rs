//! The page at `/`: its files are in the binary, and it asks for everything else through `/api/v1`.
//!
//! All files but the first are below a path with the digest of all of them, so that a browser keeps them for ever and never mixes two
//! versions. Addresses in them are relative: the page works below any prefix of a proxy. Nothing in them is a secret, so they need no token.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use flate2::read::GzDecoder;
use url::Url;

use super::answering::{Service, problem};
use super::coding::{self, accepts};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::operations::OperationError;

/// Where the files are.
pub(super) const PREFIX: &str = "/_page/";
const FOREVER: &str = "public, max-age=31536000, immutable";
const HTML: &str = "text/html; charset=utf-8";
/// What the first file has in place of the digest.
const DIGEST: &str = "{{digest}}";

/// A file as the build has compressed it (`build.rs` beside this).
struct File {
    name: &'static str,
    brotli: &'static [u8],
    gzip: &'static [u8],
}

/// Every file but the first, by its path.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The first file, which names the others.
static FIRST: LazyLock<Bytes> =
    LazyLock::new(|| include_str!("index.html").replace(DIGEST, &digest()).into_bytes().into());

/// A digest of all files.
fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for file in FILES {
        hasher.update(file.name.as_bytes()).update(&[0]).update(file.gzip);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

impl File {
    fn media_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// As it is in the source. Every browser reads gzip, so it is not in the program twice.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // It cannot fail: a test reads each.
        let _ = GzDecoder::new(self.gzip).read_to_end(&mut bytes);
        bytes
    }

    /// Compressed as well as the browser can read it.
    fn body(&self, headers: &HeaderMap) -> Response {
        if accepts(headers, coding::BROTLI) {
            ([(CONTENT_ENCODING, coding::BROTLI)], self.brotli).into_response()
        } else if accepts(headers, coding::GZIP) {
            ([(CONTENT_ENCODING, coding::GZIP)], self.gzip).into_response()
        } else {
            self.bytes().into_response()
        }
    }
}

/// An answer with the headers that all files have; nothing but these if the browser has the file.
fn sent(
    headers: &HeaderMap,
    bytes: &[u8],
    (media_type, cache): (&'static str, &'static str),
    body: impl FnOnce() -> Response,
) -> Response {
    let digest = blake3::hash(bytes).to_hex();
    let tag = format!("\"{}\"", &digest[..32]);
    let is_known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|t| t.contains(&tag));
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body() };
    let fixed = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, cache),
        (VARY, "accept-encoding"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    let into = response.headers_mut();
    for (name, value) in fixed {
        into.insert(name, HeaderValue::from_static(value));
    }
    into.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    response
}

/// Whether a path is one of the page: it says nothing but what the program has in it.
pub(super) fn is_part(path: &str) -> bool {
    path == "/" || path.starts_with(PREFIX)
}

/// The page and its files.
pub(super) fn routes() -> Router<Service> {
    Router::new().route("/", get(first)).route("/_page/{digest}/{*path}", get(file))
}

async fn first(State(service): State<Service>, headers: HeaderMap) -> Response {
    // A few hundred bytes, which are not worth compressing.
    let mut response = sent(&headers, &FIRST, (HTML, "no-cache"), || FIRST.clone().into_response());
    let nodes = service.context.pipeline().fleet.as_ref().map(Fleet::addresses).unwrap_or_default();
    let policy = HeaderValue::from_str(&policy(&service.context.config(), &nodes));
    // A policy that cannot be written must not be none at all.
    let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'self'"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

async fn file(Path((_, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == path) {
        Some(file) => sent(&headers, file.gzip, (file.media_type(), FOREVER), || file.body(&headers)),
        None => problem(&OperationError::not_found("the page has no such file")),
    }
}

/// What the page may load: its own files, and media from the stores and nodes to which it is redirected.
fn policy(config: &Config, nodes: &[String]) -> String {
    let of_nodes = nodes.iter().filter_map(|node| Some(Url::parse(node).ok()?.origin().ascii_serialization()));
    let origins: BTreeSet<_> = origins(config).into_iter().chain(of_nodes.filter(|origin| is_plain(origin))).collect();
    let mut stores = origins.into_iter().fold(String::new(), |stores, origin| stores + " " + &origin);
    if stores.len() > MOST_ORIGINS_BYTES {
        stores = String::from(" https: http:");
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:{stores}; \
         connect-src 'self'{stores}; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Bytes of origins at most: browsers and proxies refuse answers with long headers. With more, media may come from anywhere.
const MOST_ORIGINS_BYTES: usize = 4096;

/// Whether an origin is nothing but one in a policy. A host may have a `;` in it, behind which another directive would begin, or a `*`.
fn is_plain(origin: &str) -> bool {
    // That of an address without a host is `null`.
    origin.contains("://") && origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/[]-".contains(&byte))
}

/// Origins of the configured stores.
fn origins(config: &Config) -> BTreeSet<String> {
    let of_target = |target: &crate::deliver::TargetOptions| {
        let of_endpoint = |endpoint: &String| {
            Some(Url::parse(endpoint).ok()?.origin().ascii_serialization()).filter(|origin| is_plain(origin))
        };
        target.endpoint.as_ref().and_then(of_endpoint).or_else(|| {
            let scheme = target.url.split("://").next().unwrap_or_default();
            let known = match scheme {
                "s3" => "https://*.amazonaws.com",
                "gs" => "https://storage.googleapis.com",
                "az" => "https://*.blob.core.windows.net",
                _ => return None,
            };
            Some(known.to_owned())
        })
    };
    config.deliver.targets.iter().filter_map(of_target).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT_ENCODING;

    use super::*;

    #[test]
    fn every_file_that_is_named_is_there() {
        let names: BTreeSet<_> = FILES.iter().map(|file| file.name).collect();
        for file in FILES.iter().filter(|file| file.name.contains("js")) {
            let text = String::from_utf8(file.bytes()).unwrap();
            let folder = file.name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for import in text.split(" from './").skip(1).chain(text.split("import('./").skip(1)) {
                let name = import.split('\'').next().unwrap();
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                assert!(names.contains(path.as_str()), "{} imports {path}", file.name);
            }
        }
        let html = std::str::from_utf8(&FIRST).unwrap();
        assert!(html.contains(&format!("_page/{}/app.js", digest())) && !html.contains(DIGEST));
    }

    #[test]
    fn every_file_of_the_first_view_is_asked_for_at_once() {
        let html = std::str::from_utf8(&FIRST).unwrap();
        let text =
            |name: &str| String::from_utf8(FILES.iter().find(|file| file.name == name).unwrap().bytes()).unwrap();
        let (mut seen, mut open) = (BTreeSet::new(), vec!["app.js".to_owned()]);
        while let Some(name) = open.pop() {
            let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            for quote in ['\'', '"'] {
                let (from, spaced) = (format!("from{quote}./"), format!("from {quote}./"));
                let text = text(&name).replace(&spaced, &from);
                let imports = text.split(&from).skip(1).filter_map(|rest| rest.split(quote).next());
                open.extend(imports.map(|import| format!("{folder}{import}")).filter(|name| !seen.contains(name)));
            }
            assert!(html.contains(&format!("_page/{}/{name}\"", digest())), "index.html does not name {name}");
            seen.insert(name);
        }
        assert!(seen.contains("vendor/hooks.mjs") && seen.contains("grid.js"), "{seen:?}");
    }

    #[test]
    fn files_are_sent_in_the_smallest_form_that_the_browser_reads() {
        let file = FILES.iter().find(|file| file.name == "app.js").unwrap();
        let coding_for = |accepted: &str| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())]);
            file.body(&headers).headers().get(CONTENT_ENCODING).cloned()
        };
        assert_eq!(coding_for("gzip, deflate, br, zstd").unwrap(), "br");
        assert_eq!(coding_for("gzip, deflate").unwrap(), "gzip");
        assert_eq!(coding_for("identity"), None);
        assert!(file.brotli.len() < file.gzip.len() && file.gzip.len() < file.bytes().len() / 2);
        for file in FILES {
            let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/page").join(file.name);
            assert_eq!(file.bytes(), std::fs::read(source).unwrap(), "{}", file.name);
        }
        assert!(FILES.iter().all(|file| !file.name.contains("build")), "nothing else is sent");
    }

    #[test]
    fn nothing_in_it_needs_what_the_policy_forbids() {
        let own = FILES.iter().filter(|file| !file.name.starts_with("vendor/"));
        for (name, bytes) in own.map(|file| (file.name, file.bytes())).chain([("index.html", FIRST.to_vec())]) {
            let text = String::from_utf8(bytes).unwrap();
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", " style=\"", "onclick=\"", "http://", "//cdn"]
            {
                let allowed =
                    word == "http://" && text.matches(word).count() == text.matches("http://www.w3.org/").count();
                assert!(allowed || !text.contains(word), "{name} has `{word}`");
            }
        }
    }

    #[test]
    fn stores_that_media_is_redirected_to_are_named() {
        let mut config = Config::default();
        let target = |url: &str, endpoint: Option<&str>| crate::deliver::TargetOptions {
            endpoint: endpoint.map(str::to_owned),
            ..crate::deliver::TargetOptions::new("store", url)
        };
        config.deliver.targets = vec![
            target("s3://a/b", Some("https://minio.example:9000/x")),
            target("gs://a", None),
            target("file:///x", None),
        ];
        let policy = policy(&config, &[]);
        assert!(
            policy.contains("media-src 'self' blob: https://minio.example:9000 https://storage.googleapis.com;"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("require-trusted-types-for 'script'"));
    }

    #[test]
    fn what_nodes_say_of_themselves_adds_nothing_but_origins_to_the_policy_and_no_long_header() {
        let said =
            ["http://b.example:8420/a", "https://[::1]:8", "http://c;script-src'*'.example", "http://*", "data:x"];
        let short = policy(&Config::default(), &said.map(str::to_owned));
        assert!(short.contains("media-src 'self' blob: http://b.example:8420 https://[::1]:8;"), "{short}");
        assert!(short.contains("script-src 'self';") && short.matches("script-src").count() == 1, "{short}");
        let many: Vec<_> = (0..1_000).map(|n| format!("https://node-{n}.example")).collect();
        let long = policy(&Config::default(), &many);
        assert!(long.contains("media-src 'self' blob: https: http:;") && long.len() < 1_024, "{long}");
    }
}
