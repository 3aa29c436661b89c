//! How commands talk to the daemon that owns the state directory: a Unix socket in it, mode 0600.
//!
//! The client sends its arguments and directory; the daemon runs the same command on its own house and sends back what
//! it prints and its exit code, so that both ways print the same. One JSON value per line in both directions.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// Version of the conversation; a daemon of another version says so instead of guessing.
const PROTOCOL: u32 = 1;
/// Commands that may wait to be let in.
const BACKLOG: i32 = 128;
/// Longest request line that is read, in bytes.
const REQUEST_LIMIT_BYTES: u64 = 1 << 20;

/// What the client asks for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    protocol: u32,
    args: Vec<Vec<u8>>,
    directory: Vec<u8>,
}

impl Request {
    /// The arguments as typed, without the program's name.
    pub fn args(&self) -> Vec<OsString> {
        self.args.iter().map(|a| OsString::from_vec(a.clone())).collect()
    }

    /// The client's working directory.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.directory.clone()))
    }
}

/// One piece of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    Out(String),
    Err(String),
    Exit(u8),
}

/// Sends a command to the daemon and prints its answer; returns its exit code.
pub fn ask(socket: &Path, args: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let mut stream = UnixStream::connect(socket)?;
    let request = Request {
        protocol: PROTOCOL,
        args: args.iter().map(|a| a.as_bytes().to_vec()).collect(),
        directory: std::env::current_dir()?.as_os_str().as_bytes().to_vec(),
    };
    write_line(&mut stream, &request)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Frame::Out(text) => out.write_all(text.as_bytes())?,
            Frame::Err(text) => err.write_all(text.as_bytes())?,
            Frame::Exit(code) => return Ok(code),
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon ended before it answered"))
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// The daemon's end.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds the socket; one that an ended daemon left is replaced (the state directory's lock is held).
    pub fn bind(path: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(path);
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // The kernel takes the mode of the socket for its name: it is never there with another one.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { socket: socket.into(), path: path.to_owned() })
    }

    /// Answers commands on threads of their own until the process ends.
    pub fn serve<F>(self, answer: F) -> io::Result<Served>
    where
        F: Fn(&Request, &mut dyn Write, &mut dyn Write) -> u8 + Send + Sync + Clone + 'static,
    {
        let Self { socket, path } = self;
        std::thread::Builder::new().name("socket".into()).spawn(move || {
            for stream in socket.incoming().flatten() {
                let answer = answer.clone();
                let spawned =
                    std::thread::Builder::new().name("command".into()).spawn(move || converse(&stream, &answer));
                if let Err(error) = spawned {
                    warn!(error = crate::fault::chain(&error), "A command could not be answered.");
                }
            }
        })?;
        Ok(Served { path })
    }
}

/// The socket while it is served; removed when the daemon ends in order.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn converse(stream: &UnixStream, answer: &impl Fn(&Request, &mut dyn Write, &mut dyn Write) -> u8) {
    let code = match read_request(stream) {
        Ok(request) => answer(
            &request,
            &mut FrameWriter { stream, frame: Frame::Out },
            &mut FrameWriter { stream, frame: Frame::Err },
        ),
        Err(error) => {
            let _ = writeln!(
                FrameWriter { stream, frame: Frame::Err },
                "Error: the request was not understood: {}",
                crate::fault::chain(&error)
            );
            super::exit::Exit::Usage.code()
        }
    };
    let mut stream = stream;
    let _ = write_line(&mut stream, &Frame::Exit(code));
}

fn read_request(stream: &UnixStream) -> io::Result<Request> {
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, REQUEST_LIMIT_BYTES)).read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    if request.protocol == PROTOCOL {
        Ok(request)
    } else {
        Err(io::Error::other("this command and the daemon are of different versions; restart the daemon"))
    }
}

/// Turns what a command writes into frames.
struct FrameWriter<'a> {
    stream: &'a UnixStream,
    frame: fn(String) -> Frame,
}

impl Write for FrameWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        write_line(&mut stream, &(self.frame)(String::from_utf8_lossy(bytes).into_owned()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_print_the_same_and_the_code_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let _served = listener
            .serve(|request, out, err| {
                writeln!(out, "{:?}", request.args()).unwrap();
                write!(err, "careful").unwrap();
                7
            })
            .unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let odd_name = OsString::from_vec(vec![b'x', 0xFF]);
        let code = ask(&path, &["process".into(), odd_name.clone()], &mut out, &mut err).unwrap();
        assert_eq!(code, 7);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{:?}\n", ["process".into(), odd_name]));
        assert_eq!(err, b"careful");
    }

    #[test]
    fn a_socket_that_nobody_serves_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        drop(Listener::bind(&path).unwrap());
        assert!(ask(&path, &[], &mut Vec::new(), &mut Vec::new()).is_err());
    }
}
