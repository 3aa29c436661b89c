//! A tap on the line between a client and a server on loopback: passes every byte on and notes the request lines; on
//! demand it loses answers or flips a bit of a body.
//!
//! It finds request lines by their shape, wherever they stand in the bytes from the client; bodies of recordings do not
//! look like them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A running tap. It ends with the process.
#[derive(Clone)]
pub struct Tap {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Option<(Fault, String)>>>,
}

/// What goes wrong with requests whose request line contains a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server gets the request, the client no answer.
    AnswerLost,
    /// One bit of the body arrives flipped.
    BitFlipped,
}

impl Tap {
    /// Listens on a free port and passes on to a server.
    pub fn on(server: SocketAddr) -> Self {
        Self::at(0, server)
    }

    /// The same on a port of one's choice.
    pub fn at(port: u16, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let tap = Self { address, seen: Arc::default(), fault: Arc::default() };
        let taps = tap.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                taps.join(&client, &TcpStream::connect(server).unwrap());
            }
        });
        tap
    }

    /// From now on this happens to requests whose request line contains a text.
    pub fn spoil(&self, fault: Fault, requests: &str) {
        *self.fault.lock().unwrap() = Some((fault, requests.to_owned()));
    }

    fn join(&self, client: &TcpStream, server: &TcpStream) {
        let is_mute = Arc::new(AtomicBool::new(false));
        let (tap, mute) = (self.clone(), is_mute.clone());
        let mut body_to_hit: Option<HeaderEnd> = None;
        pass(client, server, move |bytes| {
            let lines = request_lines(bytes);
            match tap.fault_of(&lines) {
                Some(Fault::AnswerLost) => mute.store(true, Ordering::SeqCst),
                Some(Fault::BitFlipped) => body_to_hit = Some(HeaderEnd::default()),
                None => {}
            }
            if body_to_hit.as_mut().is_some_and(|end| end.is_before_the_last_of(bytes)) {
                bytes[bytes.len() - 1] ^= 1;
                body_to_hit = None;
            }
            tap.seen.lock().unwrap().extend(lines);
            true
        });
        pass(server, client, move |_| !is_mute.load(Ordering::SeqCst));
    }

    fn fault_of(&self, lines: &[String]) -> Option<Fault> {
        let fault = self.fault.lock().unwrap();
        fault.as_ref().filter(|(_, text)| lines.iter().any(|l| l.contains(text))).map(|(fault, _)| *fault)
    }

    /// The request lines since the last call, without the version: `PUT /bucket/key?query`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Finds where a request's header ends, in bytes that arrive in any pieces.
#[derive(Default)]
struct HeaderEnd {
    /// The last bytes that were seen: the empty line may be cut anywhere.
    tail: Vec<u8>,
    is_found: bool,
}

impl HeaderEnd {
    /// Whether the last of these bytes, the next of the request, belongs to its body.
    fn is_before_the_last_of(&mut self, bytes: &[u8]) -> bool {
        if self.is_found {
            return true;
        }
        self.tail.extend_from_slice(bytes);
        let end = self.tail.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        self.is_found = end.is_some();
        let has_body = end.is_some_and(|end| end < self.tail.len());
        self.tail.drain(..self.tail.len().saturating_sub(3));
        has_body
    }
}

/// Passes bytes on until either side ends or `may_pass` says no.
fn pass(from: &TcpStream, to: &TcpStream, mut may_pass: impl FnMut(&mut [u8]) -> bool + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if !may_pass(&mut buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn request_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter_map(|line| line.strip_suffix(" HTTP/1.1"));
    let methods = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE "];
    let from_method = |line: &str| methods.iter().find_map(|m| line.rfind(m).map(|at| line[at..].to_owned()));
    lines.filter_map(from_method).collect()
}

/// A header that arrives alone, or in pieces, is passed on whole: the flipped bit is one of the body.
#[test]
fn a_flipped_bit_is_one_of_the_body_however_the_request_is_cut() {
    let header = b"PUT /damage HTTP/1.1\r\nContent-Length: 4\r\n\r\n".as_slice();
    for cut in [header.len() - 2, header.len(), header.len() + 1, header.len() + 4] {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tap = Tap::on(server.local_addr().unwrap());
        tap.spoil(Fault::BitFlipped, "PUT /damage");
        let request = [header, b"abcd"].concat();
        let mut client = TcpStream::connect(tap.address).unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&request[..cut]).unwrap();
        let mut at_server = server.accept().unwrap().0;
        let mut got = vec![0; cut];
        at_server.read_exact(&mut got).unwrap();
        client.write_all(&request[cut..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        at_server.read_to_end(&mut got).unwrap();
        assert_eq!(got[..header.len()], *header, "cut at {cut}");
        let flipped = got[header.len()..].iter().zip(b"abcd").filter(|(a, b)| a != b).count();
        assert_eq!((got.len(), flipped), (request.len(), 1), "cut at {cut}");
    }
}
