//! The page at `/`: its files are in the binary, and it asks for everything else through `/api/v1`.
//!
//! All files but the first are below a path with the digest of all of them, so that a browser keeps them for ever and never mixes two
//! versions. Addresses in them are relative: the page works below any prefix of a proxy. Nothing in them is a secret, so they need no token.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use url::Url;

use super::answering::{Service, problem};
use crate::config::Config;
use crate::operations::OperationError;

/// Where the files are.
pub(super) const PREFIX: &str = "/_page/";
const FOREVER: &str = "public, max-age=31536000, immutable";
const HTML: &str = "text/html; charset=utf-8";
/// What the first file has in place of the digest.
const DIGEST: &str = "{{digest}}";

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!($name).as_slice())),*]
    };
}

/// Every file but the first, by its path.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let files = files![
        "style.css" "icon.svg" "app.js" "api.js" "format.js" "parts.js" "defects.js" "library.js" "grid.js" "vod.js" "player.js" "pictures.js"
        "journey.js" "streams.js" "pipeline.js" "doctor.js" "dialogs.js"
        "vendor/preact.mjs" "vendor/hooks.mjs" "vendor/htm.mjs" "vendor/icons.svg"
    ];
    files.into_iter().map(|(name, bytes)| File::of(name, bytes.into())).collect()
});

/// The first file, which names the others.
static FIRST: LazyLock<File> = LazyLock::new(|| {
    let html = include_str!("index.html").replace(DIGEST, &digest());
    File::of("index.html", html.into())
});

/// A digest of all files.
fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for file in &*FILES {
        hasher.update(file.name.as_bytes()).update(&[0]).update(&file.bytes);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

struct File {
    name: &'static str,
    bytes: Bytes,
    zipped: Bytes,
}

impl File {
    fn of(name: &'static str, bytes: Bytes) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let zipped = encoder.write_all(&bytes).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { name, bytes, zipped: zipped.into() }
    }

    fn media_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("html") => HTML,
            _ => "text/javascript; charset=utf-8",
        }
    }

    /// Compressed for who takes that.
    fn answer(&self, headers: &HeaderMap, cache: &'static str) -> Response {
        let digest = blake3::hash(&self.bytes).to_hex();
        let tag = format!("\"{}\"", &digest[..32]);
        let is_known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).is_some_and(|t| t.contains(&tag));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else if takes_gzip(headers) {
            ([(CONTENT_ENCODING, "gzip")], self.zipped.clone()).into_response()
        } else {
            self.bytes.clone().into_response()
        };
        let fixed = [
            (CONTENT_TYPE, self.media_type()),
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
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').map(str::trim).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && quality.trim().trim_start_matches("q=").parse() != Ok(0.0)
    })
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
    let mut response = FIRST.answer(&headers, "no-cache");
    let policy = HeaderValue::from_str(&policy(&service.context.config()));
    // A policy that cannot be written must not be none at all.
    let policy = policy.unwrap_or_else(|_| HeaderValue::from_static("default-src 'self'"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

async fn file(Path((_, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == path) {
        Some(file) => file.answer(&headers, FOREVER),
        None => problem(&OperationError::not_found("the page has no such file")),
    }
}

/// What the page may load: its own files, and media from the stores to which freed recordings are redirected.
fn policy(config: &Config) -> String {
    let stores = origins(config).into_iter().fold(String::new(), |stores, origin| stores + " " + &origin);
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:{stores}; media-src 'self' blob:{stores}; \
         connect-src 'self'{stores}; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// Origins of the configured stores.
fn origins(config: &Config) -> BTreeSet<String> {
    let of_target = |target: &crate::deliver::TargetOptions| {
        let of_endpoint = |endpoint: &String| Some(Url::parse(endpoint).ok()?.origin().ascii_serialization());
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
    use super::*;

    #[test]
    fn the_page_is_small_and_every_file_that_it_names_is_there() {
        const LATER: [&str; 6] = ["vod.js", "player.js", "journey.js", "streams.js", "pipeline.js", "doctor.js"];
        let zipped = |file: &File| file.zipped.len();
        let first: usize = FILES.iter().filter(|file| !LATER.contains(&file.name)).map(zipped).sum();
        assert!(first + FIRST.zipped.len() < 48 << 10, "the first view: {first} bytes");
        let all: usize = FILES.iter().map(zipped).sum();
        assert!(all < 72 << 10, "all views: {all} bytes");
        let names: BTreeSet<_> = FILES.iter().map(|file| file.name).collect();
        for file in FILES.iter().filter(|file| file.name.contains("js")) {
            let text = std::str::from_utf8(&file.bytes).unwrap();
            let folder = file.name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for import in text.split(" from './").skip(1).chain(text.split("import('./").skip(1)) {
                let name = import.split('\'').next().unwrap();
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                assert!(names.contains(path.as_str()), "{} imports {path}", file.name);
            }
        }
        let html = std::str::from_utf8(&FIRST.bytes).unwrap();
        assert!(html.contains(&format!("_page/{}/app.js", digest())) && !html.contains(DIGEST));
    }

    #[test]
    fn nothing_in_it_needs_what_the_policy_forbids() {
        let all = FILES.iter().filter(|file| !file.name.starts_with("vendor/")).chain([&*FIRST]);
        for file in all {
            let text = std::str::from_utf8(&file.bytes).unwrap();
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", " style=\"", "onclick=\"", "http://", "//cdn"]
            {
                let allowed =
                    word == "http://" && text.matches(word).count() == text.matches("http://www.w3.org/").count();
                assert!(allowed || !text.contains(word), "{} has `{word}`", file.name);
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
        let policy = policy(&config);
        assert!(
            policy.contains("media-src 'self' blob: https://minio.example:9000 https://storage.googleapis.com;"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("require-trusted-types-for 'script'"));
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let takes = |value: &str| takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]));
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("deflate,gzip"));
        assert!(!takes("") && !takes("br") && !takes("gzip;q=0") && !takes_gzip(&HeaderMap::new()));
    }
}
