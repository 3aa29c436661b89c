//! The daemon's end of the socket: who is let in, for how long, and how it ends.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, warn};

use super::answering::{MOST_OPERATIONS, Service};
use super::routes::router;
use crate::fault::chain;
use crate::operations::Context;
use crate::runtime::Runtime;

/// Connections at once; more wait until one ends.
const MOST_CONNECTIONS: u32 = 128;
/// Connections that the system keeps until they are taken.
const BACKLOG: i32 = 128;
/// How long the head of a request may take, also the next one on a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request, bytes.
const HEAD_LIMIT_BYTES: usize = 64 << 10;
/// How long operations may take to end when the daemon ends.
const DRAIN: Duration = Duration::from_secs(3);
/// How long their answers may then take to arrive.
const FLUSH: Duration = Duration::from_secs(1);
/// Time until the next try where a connection cannot be taken.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves operations on a socket until it is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    runtime: Runtime,
    /// Tells connections to end; that it is gone, that they are cut.
    closing: watch::Sender<bool>,
    operations: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Server {
    /// Binds the socket and begins to answer. A socket that an ended daemon left is replaced: the state directory's lock must
    /// be held.
    pub fn open(path: &Path, context: Context) -> io::Result<Self> {
        let socket = bind(path)?;
        socket.set_nonblocking(true)?;
        let runtime = context.house().runtime.clone();
        let listener = {
            let _inside = runtime.handle().enter();
            tokio::net::UnixListener::from_std(socket)?
        };
        let (closing, until) = watch::channel(false);
        let operations = Arc::new(Semaphore::new(MOST_OPERATIONS as usize));
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
        let router = router(Service { context, operations: Arc::clone(&operations) });
        runtime.handle().spawn(accept(listener, router, Arc::clone(&connections), until));
        Ok(Self { path: path.to_owned(), runtime, closing, operations, connections })
    }
}

impl Server {
    /// Takes no more requests; what is under way goes on.
    pub fn close(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.closing.send(true);
    }
}

impl Drop for Server {
    /// A stop was requested before: operations end at their next safe point. What takes longer is cut off, and so is a client
    /// that leaves its answer unread.
    fn drop(&mut self) {
        self.close();
        self.runtime.block_on(async {
            let _ended = tokio::time::timeout(DRAIN, self.operations.acquire_many(MOST_OPERATIONS)).await;
            let _closed = tokio::time::timeout(FLUSH, self.connections.acquire_many(MOST_CONNECTIONS)).await;
        });
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let _ = fs::remove_file(path);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // The kernel takes the mode of the socket for its name: it is never there with another one.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

async fn accept(
    listener: tokio::net::UnixListener,
    router: Router,
    connections: Arc<Semaphore>,
    mut closing: watch::Receiver<bool>,
) {
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, router.clone(), closing.clone(), permit))),
            Err(error) => {
                warn!(error = chain(&error), "cannot accept a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn converse(
    stream: UnixStream,
    router: Router,
    mut closing: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let stream = TokioIo::new(stream);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(HEAD_LIMIT_BYTES);
    let mut connection = pin!(http.serve_connection(stream, TowerToHyperService::new(router)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => served,
                _ = closing.changed() => return,
            }
        }
    };
    if let Err(error) = served {
        debug!(error = chain(&error), "connection ended early");
    }
}
