//! A tap on the line between a client and a server on loopback: passes every byte on and notes the request lines.
//!
//! It finds request lines by their shape, wherever they stand in the bytes from the client; bodies of recordings do not
//! look like them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A running tap. It ends with the process.
#[derive(Clone)]
pub struct Tap {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tap {
    /// Listens on a free port and passes on to a server.
    pub fn on(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tap = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let taps = tap.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                taps.pass(&client, &server, true);
                taps.pass(&server, &client, false);
            }
        });
        tap
    }

    fn pass(&self, from: &TcpStream, to: &TcpStream, notes: bool) {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let seen = self.seen.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                if notes {
                    seen.lock().unwrap().extend(request_lines(&buffer[..read]));
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    /// The request lines since the last call, without the version: `PUT /bucket/key?query`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn request_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split("\r\n").filter_map(|line| line.strip_suffix(" HTTP/1.1"));
    let methods = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE "];
    let from_method = |line: &str| methods.iter().find_map(|m| line.rfind(m).map(|at| line[at..].to_owned()));
    lines.filter_map(from_method).collect()
}
