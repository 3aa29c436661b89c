//! URLs of targets and endpoints: checked before a store's library sees them (some panic on what is no URL).
//!
//! A URL with credentials in it is refused without being repeated.

use std::path::{Component, Path, PathBuf};

use url::Url;

const SCHEMES: [&str; 3] = ["s3", "az", "gs"];
const FILE: &str = "file://";

/// Checks the URL of a target and gives it back without surrounding space.
///
/// A path is taken as written, without percent signs read; so does the store.
pub(super) fn target_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    no_secrets(rest)?;
    match scheme {
        "file" => directory(rest)?,
        _ if SCHEMES.contains(&scheme) => bucket(scheme, rest)?,
        _ => return Err(format!("`{scheme}` is not a supported scheme: use s3, az, gs or file")),
    }
    Ok(text.to_owned())
}

fn directory(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("a file URL needs three slashes: `file:///path`".into());
    }
    let path = Path::new(path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("it contains `..`: write the path without it".into());
    }
    path.parent().map(|_| ()).ok_or_else(|| "it has no directory: `file:///path`".into())
}

fn bucket(scheme: &str, rest: &str) -> Result<(), String> {
    let bucket = rest.split('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.$".contains(c);
    if bucket.is_empty() {
        return Err(format!("it has no bucket: `{scheme}://bucket/prefix`"));
    }
    if bucket.chars().all(is_plain) { Ok(()) } else { Err("the bucket name has invalid characters".into()) }
}

/// Checks the URL of an endpoint: http or https, a host, nothing secret. The final slash goes.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    let has_scheme = ["http://", "https://"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    if !has_scheme {
        return Err("it does not begin with `http://` or `https://`".into());
    }
    no_secrets(text.split_once("://").map_or(text, |(_, rest)| rest))?;
    let url = Url::parse(text).map_err(|why| format!("`{text}` is not a URL: {why}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Checks the URL of a webhook: http or https, a host, no credentials in front of it. A query is taken as it is.
pub(super) fn webhook(text: &str) -> Result<String, String> {
    let signed = "credentials do not belong in it: requests are signed with `secret_file`";
    place(text, signed).map(|_| text.trim().to_owned())
}

/// Checks the address of an ingest server's control interface: http or https, a host, no credentials. Of a query only what names a
/// recorder is taken.
pub(super) fn control(text: &str) -> Result<String, String> {
    let url = place(text, "credentials do not belong in it: name their file in `control_credentials_file`")?;
    if url.query_pairs().any(|(name, _)| name != "rec" && name != "srv") {
        return Err("its query may have `rec` and `srv` only, the recorder and the server of nginx-rtmp".to_owned());
    }
    Ok(text.trim().to_owned())
}

/// Checks an address that requests are sent to; `credentials` is said where it has some. It is never repeated.
fn place(text: &str, credentials: &str) -> Result<Url, String> {
    let unsuitable = |why: &str| Err(why.to_owned());
    let Ok(url) = Url::parse(text.trim()) else { return unsuitable("it is no URL") };
    match () {
        () if !["http", "https"].contains(&url.scheme()) => {
            unsuitable("it does not begin with `http://` or `https://`")
        }
        () if url.host_str().is_none_or(str::is_empty) => unsuitable("it names no host"),
        () if !url.username().is_empty() || url.password().is_some() => unsuitable(credentials),
        () if url.fragment().is_some() => unsuitable("a `#` does not belong in it"),
        () => Ok(url),
    }
}

/// A URL as it may be shown: its query may hold a token.
pub(super) fn without_query(url: &str) -> String {
    url.split_once('?').map_or_else(|| url.to_owned(), |(place, _)| format!("{place}?…"))
}

/// The directory of a `file://` target.
pub(super) fn file_path(url: &str) -> Option<PathBuf> {
    url.strip_prefix(FILE).map(|path| Path::new(path).components().collect())
}

/// Refuses what follows `://` with credentials, a signature or a token in it.
fn no_secrets(rest: &str) -> Result<(), String> {
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Err(
            "it must not contain credentials: set them in the environment, or name files in credential_files".into()
        );
    }
    if rest.contains(['?', '#']) {
        return Err("it must not contain `?` or `#` (set signatures and tokens in the environment)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_stores_are_taken() {
        for url in ["s3://bucket/prefix", "s3://Bucket", "az://container/a/b", "gs://b/p", "file:///srv/archive"] {
            assert_eq!(target_url(url), Ok(url.to_owned()));
        }
        assert_eq!(file_path("file:///srv//with space/"), Some("/srv/with space".into()));
        assert_eq!(file_path("s3://bucket/x"), None);
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for url in [
            "bucket/prefix",
            "ftp://host/x",
            "s3:///prefix",
            "file://srv/archive",
            "file:///",
            "file:///a/../b",
            "s3://b:9/p",
            "s3://b/p?X=1",
            "",
        ] {
            assert!(target_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn secrets_in_a_url_are_refused_and_never_repeated() {
        for url in ["s3://AKIA:hunter2@bucket/x", "s3://a:hunter2@", "az://c/p?sig=hunter2", "s3://[a:hunter2@b"] {
            assert!(!target_url(url).unwrap_err().contains("hunter2"), "{url}");
        }
        for url in ["https://AKIA:hunter2@host", "http://h/?token=hunter2", "http://[x?hunter2"] {
            assert!(!endpoint(url).unwrap_err().contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_webhook_has_a_host_and_no_credentials_and_its_query_is_not_shown() {
        for url in ["http://127.0.0.1:8080/x", "https://site.example/hooks?app=live", "http://[::1]/"] {
            assert_eq!(webhook(url), Ok(url.to_owned()));
        }
        for url in
            ["site.example/x", "ftp://h/x", "http://", "http://u:hunter2@h/", "http://h/#hunter2", "http://[hunter2"]
        {
            assert!(!webhook(url).unwrap_err().contains("hunter2"), "{url}");
        }
        assert_eq!(without_query("https://h/a?token=hunter2"), "https://h/a?…");
    }

    #[test]
    fn a_control_interface_has_a_host_and_no_secret() {
        for url in ["http://127.0.0.1:5080", "https://ome:8082/v1/vhosts/x", "http://h/control?srv=0&rec=r1"] {
            assert_eq!(control(url), Ok(url.to_owned()));
        }
        for url in ["h:5080", "ftp://h", "http://", "http://u:hunter2@h", "http://h#hunter2", "http://h?token=hunter2"]
        {
            assert!(!control(url).unwrap_err().contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn an_endpoint_has_its_scheme() {
        assert_eq!(endpoint("http://127.0.0.1:9000/"), Ok("http://127.0.0.1:9000".into()));
        assert!(endpoint("127.0.0.1:9000").is_err());
        assert!(endpoint("localhost:9000").is_err());
        assert!(endpoint("https://").is_err());
    }
}
