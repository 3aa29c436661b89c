//! URLs of targets and endpoints: checked before a store's library sees them (some panic on what is no URL).
//!
//! A URL with credentials in it is refused without being repeated.

use std::path::PathBuf;

use url::Url;

const SCHEMES: [&str; 4] = ["s3", "az", "gs", "file"];

/// Checks the URL of a target and gives it back without surrounding space.
pub(super) fn target_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let url = parse(text)?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(format!("`{}` is no scheme of a store: use s3, az, gs or file", url.scheme()));
    }
    let is_file = url.scheme() == "file";
    match url.host_str().filter(|host| !host.is_empty()) {
        Some(_) if is_file => Err("a file URL has three slashes: `file:///path`".into()),
        None if !is_file => Err(format!("it names no bucket: `{}://bucket/prefix`", url.scheme())),
        _ if is_file && file_path(text).is_none_or(|path| path.parent().is_none()) => {
            Err("it names no directory: `file:///path`".into())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Checks the URL of an endpoint: http or https, a host, nothing secret. The final slash goes.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim();
    let has_scheme = ["http://", "https://"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    if !has_scheme {
        return Err("it does not begin with `http://` or `https://`".into());
    }
    let url = parse(text)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The directory of a `file://` target.
pub(super) fn file_path(url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "file")?;
    let path = url.to_file_path().ok()?;
    Some(path.components().collect())
}

fn parse(text: &str) -> Result<Url, String> {
    // An authority with an `@` is checked in the text: what cannot be parsed must not be repeated either.
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "credentials do not belong in it: set them in the environment, or name files in credential_files".into()
        );
    }
    let url = Url::parse(text).map_err(|why| format!("`{}` is no URL: {why}", without_query(text)))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a `?` or `#` does not belong in it (signatures and tokens go into the environment)".into());
    }
    Ok(url)
}

fn without_query(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_stores_are_taken() {
        for url in ["s3://bucket/prefix", "s3://Bucket", "az://container/a/b", "gs://b/p", "file:///srv/archive"] {
            assert_eq!(target_url(url), Ok(url.to_owned()));
        }
        assert_eq!(file_path("file:///srv/with%20space/"), Some("/srv/with space".into()));
        assert_eq!(file_path("s3://bucket/x"), None);
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for url in
            ["bucket/prefix", "ftp://host/x", "s3:///prefix", "file://srv/archive", "file:///", "s3://b/p?X=1", ""]
        {
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
    fn an_endpoint_has_its_scheme() {
        assert_eq!(endpoint("http://127.0.0.1:9000/"), Ok("http://127.0.0.1:9000".into()));
        assert!(endpoint("127.0.0.1:9000").is_err());
        assert!(endpoint("localhost:9000").is_err());
        assert!(endpoint("https://").is_err());
    }
}
