//! Content codings (RFC 9110 §8.4.1): which of them a client reads, and answers in one of them.

use std::io::Write as _;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Brotli (RFC 7932).
pub(super) const BROTLI: &str = "br";
/// gzip (RFC 1952).
pub(super) const GZIP: &str = "gzip";
/// Shorter answers are one packet of a network anyway.
const WORTH_BYTES: usize = 1_200;

/// Whether a client reads a coding.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').map(str::trim).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case(wanted) && quality.trim().trim_start_matches("q=").parse() != Ok(0.0)
    })
}

/// An answer for a client that reads gzip; `None` if it stays as it is. Long answers take milliseconds, so they are compressed on
/// a thread that may block.
pub(super) async fn gzipped(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    if body.len() < WORTH_BYTES || !accepts(headers, GZIP) {
        return None;
    }
    let body = body.clone();
    tokio::task::spawn_blocking(move || gzip(&body)).await.ok().flatten()
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    Some(encoder.finish().ok()?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn headers(accepted: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, accepted.parse().unwrap())])
    }

    #[test]
    fn a_coding_is_used_if_the_client_names_it() {
        let takes = |value: &str| accepts(&headers(value), GZIP);
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("deflate,gzip"));
        assert!(!takes("") && !takes("br") && !takes("gzip;q=0") && !accepts(&HeaderMap::new(), GZIP));
        assert!(accepts(&headers("gzip, deflate, br, zstd"), BROTLI));
    }

    #[tokio::test]
    async fn long_answers_are_compressed_and_short_ones_are_not() {
        let long = Bytes::from("a recording ".repeat(1_000));
        let sent = gzipped(&headers("gzip"), &long).await.unwrap();
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut read).unwrap();
        assert!(read == long && sent.len() < long.len() / 10);
        assert_eq!(gzipped(&headers("br"), &long).await, None);
        assert_eq!(gzipped(&headers("gzip"), &Bytes::from("{}")).await, None);
    }
}
