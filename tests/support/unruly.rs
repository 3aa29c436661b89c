//! A proxy in front of a real store that fails a share of the requests, in every way that stores and lines fail, and that
//! lies. Which request meets what follows from a seed.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Request, Response, forward, read_request, reply, serve};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mischief {
    /// It takes a while.
    Delay,
    /// 500.
    InternalError,
    /// 503 `SlowDown` with Retry-After.
    SlowDown,
    /// The connection is reset in the middle of the body.
    ResetMidBody,
    /// The server gets it, the client hears nothing.
    AnswerLost,
    /// The answer ends in its middle.
    AnswerTruncated,
    /// Another entity tag is reported.
    WrongEtag,
    /// Another checksum is reported.
    WrongChecksum,
    /// Another size is reported.
    WrongSize,
    /// Success, and nothing was stored.
    StoredNothing,
    /// What may only be created is overwritten; not among [`Self::ALL`], because that is no failure that passes.
    IgnoresConditions,
}

/// Where the stores say their checksums, and what stands before the value.
const CHECKSUMS: [(&str, &str); 4] =
    [("x-amz-checksum-crc64nvme", ""), ("content-md5", ""), ("x-ms-content-crc64", ""), ("x-goog-hash", "crc32c=")];

impl Mischief {
    pub const ALL: [Self; 10] = [
        Self::Delay,
        Self::InternalError,
        Self::SlowDown,
        Self::ResetMidBody,
        Self::AnswerLost,
        Self::AnswerTruncated,
        Self::WrongEtag,
        Self::WrongChecksum,
        Self::WrongSize,
        Self::StoredNothing,
    ];
}

type Choice = dyn Fn(&Request) -> Option<Mischief> + Send + Sync;

/// A running proxy. It ends with the process.
#[derive(Clone)]
pub struct Unruly {
    pub address: SocketAddr,
    done: Arc<Mutex<Vec<(Mischief, String)>>>,
}

impl Unruly {
    /// Fails about `percent` of all requests.
    pub fn failing(server: SocketAddr, percent: u64, seed: u64) -> Self {
        let count = AtomicU64::new(0);
        Self::on(server, move |_| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let digest = blake3::hash(format!("{seed} {n}").as_bytes());
            let number = u64::from_le_bytes(digest.as_bytes()[..8].try_into().unwrap());
            let kind = usize::from(digest.as_bytes()[8]) % Mischief::ALL.len();
            (number % 100 < percent).then(|| Mischief::ALL[kind])
        })
    }

    /// Does to each request what is chosen.
    pub fn on(server: SocketAddr, choose: impl Fn(&Request) -> Option<Mischief> + Send + Sync + 'static) -> Self {
        let done: Arc<Mutex<Vec<_>>> = Arc::default();
        let (noted, choose) = (Arc::clone(&done), Arc::new(choose) as Arc<Choice>);
        let address = serve(move |client| {
            meet(&client, server, &*choose, &noted);
        });
        Self { address, done }
    }

    /// What was done so far, with the request lines.
    pub fn done(&self) -> Vec<(Mischief, String)> {
        self.done.lock().unwrap().clone()
    }
}

/// A store that answers some requests with a refusal, and passes the others on.
pub fn refusing(
    server: SocketAddr,
    choose: impl Fn(&Request) -> Option<Response> + Send + Sync + Clone + 'static,
) -> SocketAddr {
    serve(move |client| {
        let Some(request) = read_request(&client, |_, length| length) else { return };
        match choose(&request) {
            Some(refusal) => reply(&client, &refusal.bytes(request.method == "HEAD")),
            None => reply(&client, &forward(server, &request).unwrap_or_default()),
        }
    })
}

fn meet(client: &TcpStream, server: SocketAddr, choose: &Choice, done: &Mutex<Vec<(Mischief, String)>>) {
    let mut chosen = None;
    let request = read_request(client, |request, length| {
        chosen = choose(request);
        if chosen == Some(Mischief::ResetMidBody) { length / 2 } else { length }
    });
    let Some(request) = request else { return };
    if let Some(mischief) = chosen {
        done.lock().unwrap().push((mischief, format!("{} {}", request.method, request.target)));
    }
    let is_head = request.method == "HEAD";
    let stores = request.method == "PUT" || request.method == "POST";
    let answer = || forward(server, &request).unwrap_or_default();
    match chosen {
        // Closed with bytes unread: a reset.
        Some(Mischief::ResetMidBody) => {}
        Some(Mischief::AnswerLost) => drop(answer()),
        Some(Mischief::InternalError) => reply(client, &Response::error(500, "InternalError").bytes(is_head)),
        Some(Mischief::SlowDown) => {
            reply(client, &Response::error(503, "SlowDown").with("retry-after", "1").bytes(is_head));
        }
        Some(Mischief::AnswerTruncated) => {
            let bytes = answer();
            reply(client, &bytes[..bytes.len() / 2]);
        }
        Some(Mischief::Delay) => {
            std::thread::sleep(Duration::from_millis(150));
            reply(client, &answer());
        }
        Some(Mischief::WrongEtag) => reply(client, &altered(&answer(), "etag", "")),
        Some(Mischief::WrongChecksum) => {
            let wrong = CHECKSUMS.into_iter().fold(answer(), |answer, (name, mark)| altered(&answer, name, mark));
            reply(client, &wrong);
        }
        Some(Mischief::WrongSize) if is_head => reply(client, &altered(&answer(), "content-length", "")),
        Some(Mischief::IgnoresConditions) => {
            let mut request = request.clone();
            // The signature covers the condition; a store that lets anybody in takes the request without either.
            request.headers.retain(|(name, _)| name != "if-none-match" && name != "authorization");
            reply(client, &forward(server, &request).unwrap_or_default());
        }
        Some(Mischief::StoredNothing) if stores && request.query("uploads").is_none() => {
            let tag = format!("\"{}\"", &blake3::hash(&request.body).to_hex()[..32]);
            let ended = "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>";
            reply(client, &Response::new(200).with("etag", &tag).saying(ended).bytes(false));
        }
        _ => reply(client, &answer()),
    }
}

/// An answer with the value of a header changed behind a mark, of the same length.
fn altered(answer: &[u8], name: &str, mark: &str) -> Vec<u8> {
    let mut bytes = answer.to_vec();
    let head_len = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..head_len]).to_ascii_lowercase();
    if let Some(at) = head.find(&format!("\r\n{name}: ")) {
        let value = at + 2 + name.len() + 2 + mark.len();
        // Behind an opening quotation mark.
        let value = if bytes[value] == b'"' { value + 1 } else { value };
        bytes[value] = match bytes[value] {
            b'1' => b'2',
            b'0'..=b'9' => b'1',
            b'a' => b'b',
            b'A' => b'B',
            b if b.is_ascii_lowercase() => b'a',
            _ => b'A',
        };
    }
    bytes
}
