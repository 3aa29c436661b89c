//! As much of HTTP/1.1 as the fake stores and the unruly proxy need: one request per connection, on loopback.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

/// A request with its whole body.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query; empty if it has no value.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.target.split_once('?')?.1.split('&');
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

/// Reads the head of a request; its body is read up to `body_max` bytes.
pub fn read_request(stream: &TcpStream, body_max: impl FnOnce(&Request, usize) -> usize) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, target, headers: Vec::new(), body: Vec::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let wanted = body_max(&request, length).min(length);
    request.body = vec![0; wanted];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// S3's and Google's form of an error.
    pub fn error(status: u16, code: &str) -> Self {
        Self::new(status)
            .with("content-type", "application/xml")
            .saying(format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>provoked</Message></Error>"))
    }

    /// Its bytes; of an answer to HEAD the body is only counted.
    pub fn bytes(&self, is_head: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", self.status);
        let has_length = self.headers.iter().any(|(n, _)| n == "content-length");
        if !has_length {
            let _ = write!(text, "content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let mut bytes = (text + "\r\n").into_bytes();
        if !is_head {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// Serves every connection with a thread of its own until the process ends.
pub fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(client));
        }
    });
    address
}

/// Sends a request on and gives the whole answer as it came.
pub fn forward(server: SocketAddr, request: &Request) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", request.method, request.target);
    for (name, value) in request.headers.iter().filter(|(n, _)| n != "connection") {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&request.body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Writes an answer and ends the connection in order.
pub fn reply(mut stream: &TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    // What the client still sends is read, or the answer would be lost to a reset.
    let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(2)));
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}
