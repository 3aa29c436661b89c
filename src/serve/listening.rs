//! The doors of the daemon, the socket and TCP: who is let in, for how long, and how it ends.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::access::{AccessPolicy, Tokens};
use super::answering::{MOST_OPERATIONS, Service};
use super::error::ServeError;
use super::routes::router;
use super::sessions::Sessions;
use super::tls::Certificate;
use super::writing::{WriteLimit, Written};
use super::{public, tls};
use crate::config::ServeOptions;
use crate::fault::chain;
use crate::open_files;
use crate::operations::{Context, Logins};
use crate::runtime::Runtime;

/// Connections on the socket at once; more wait until one ends.
const MOST_ON_SOCKET: u32 = 128;
/// The same on TCP, and the part of all open files that they may be: recordings need the others.
const MOST_ON_TCP: u32 = 1024;
const PART_ON_TCP: u64 = 2;
/// Connections that the system keeps until they are taken.
const BACKLOG: i32 = 128;
/// How long the head of a request may take, also the next one on a connection, and a TLS handshake.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request, bytes.
const HEAD_LIMIT_BYTES: usize = 64 << 10;
/// How long a client on TCP may leave sent bytes unacknowledged or read nothing, milliseconds; a player that pauses does so.
const UNREAD_LIMIT_MS: u32 = 600_000;
/// How long operations may take to end when the daemon ends.
const DRAIN: Duration = Duration::from_secs(3);
/// How long their answers may then take to arrive.
const FLUSH: Duration = Duration::from_secs(1);
/// Time until the next try where a connection cannot be taken.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves operations until it is dropped: on the socket, and on TCP if asked to.
#[derive(Debug)]
pub struct HttpServer {
    path: PathBuf,
    runtime: Runtime,
    service: Service,
    /// Tells connections to end; that it is gone, that they are cut.
    closing: watch::Sender<bool>,
    on_socket: Arc<Semaphore>,
    on_tcp: Arc<Semaphore>,
    most_on_tcp: u32,
    secrets: Secrets,
}

/// What was read from the files of tokens, certificate and key for the address that is listened on; a reload reads them again.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<OnceLock<(Arc<AccessPolicy>, Certificate, Logins)>>);

impl Secrets {
    /// Reads the files again and puts them in force together: tokens for the next request, the certificate for the next connection. What
    /// is open stays open. Nothing changes if one of them cannot be used, or if nothing is listened on.
    pub fn reload(&self, options: &ServeOptions) -> Result<(), ServeError> {
        let Some((access, certificate, logins)) = self.0.get() else { return Ok(()) };
        let (tokens, tls) = (Tokens::of(options)?, tls::of(options)?);
        access.allows(&tokens)?;
        certificate.replace(tls)?;
        if access.replace(tokens) {
            logins.forget_all();
        }
        Ok(())
    }
}

impl HttpServer {
    /// Binds the socket and begins to answer. A socket that an ended daemon left is replaced: the state directory's lock must
    /// be held.
    pub fn open(path: &Path, context: Context) -> io::Result<Self> {
        let socket = bind(path)?;
        socket.set_nonblocking(true)?;
        let runtime = context.pipeline().runtime.clone();
        let listener = {
            let _inside = runtime.handle().enter();
            tokio::net::UnixListener::from_std(socket)?
        };
        let service = Service::new(context, MOST_OPERATIONS);
        let part = u32::try_from(open_files::limit_now() / PART_ON_TCP).unwrap_or(u32::MAX);
        let most_on_tcp = MOST_ON_TCP.min(part);
        let server = Self {
            path: path.to_owned(),
            runtime,
            service,
            closing: watch::channel(false).0,
            on_socket: Arc::new(Semaphore::new(MOST_ON_SOCKET as usize)),
            on_tcp: Arc::new(Semaphore::new(most_on_tcp as usize)),
            most_on_tcp,
            secrets: Secrets::default(),
        };
        server.answer_on(ServerSocket::Socket(listener), router(server.service.clone()), &server.on_socket);
        Ok(server)
    }

    /// Serves on TCP, too, if an address is set; tells which one it is.
    pub fn listen(&self, options: &ServeOptions) -> Result<Option<SocketAddr>, ServeError> {
        let Some(address) = options.listen else { return Ok(None) };
        let tokens = Tokens::of(options)?;
        AccessPolicy::of(address, Tokens::default(), Sessions::default()).allows(&tokens)?;
        let certificate = Certificate::new(tls::of(options)?);
        let unusable = |source| ServeError::Address { address, source };
        let listener = self.runtime.block_on(TcpListener::bind(address)).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let sessions = Sessions::timed_by(&self.service.context.pipeline().clock);
        let access = Arc::new(AccessPolicy::of(address, tokens, sessions).with_page(options.page));
        let router = public::router(self.service.clone(), Arc::clone(&access), options);
        if options.page {
            self.service.context.logins().say_address(page_address(address, options.tls_cert.is_some()));
        }
        self.answer_on(ServerSocket::Tcp(listener, certificate.clone()), router, &self.on_tcp);
        self.count_vods();
        let _ = self.secrets.0.set((access, certificate, self.service.context.logins().clone()));
        Ok(Some(address))
    }

    /// Counts the VoDs while nobody waits for it: the number stands in the first view of the library.
    fn count_vods(&self) {
        let context = self.service.context.for_request();
        let count = move || {
            let counted = context.pipeline().catalog.shared().count_unless(|| context.stop().is_requested());
            if let Err(error) = counted {
                tracing::debug!(error = chain(&error), "VoDs not counted; they are when a list is asked for");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("counting".into()).spawn(count) {
            tracing::debug!(error = chain(&error), "no thread to count VoDs");
        }
    }

    /// What a reload reads again.
    pub fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    fn answer_on(&self, door: ServerSocket, router: Router, connections: &Arc<Semaphore>) {
        let (connections, until) = (Arc::clone(connections), self.closing.subscribe());
        self.runtime.handle().spawn(accept(door, router, connections, until));
    }

    /// Takes no more requests; what is under way goes on.
    pub fn close(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.closing.send_replace(true);
    }
}

impl Drop for HttpServer {
    /// A stop was requested before: operations end at their next safe point. What takes longer is cut off, and so is a client
    /// that leaves its answer unread.
    fn drop(&mut self) {
        self.close();
        self.runtime.block_on(async {
            let operations = self.service.operations.acquire_many(MOST_OPERATIONS);
            let _ended = tokio::time::timeout(DRAIN, operations).await;
            let all = async {
                let _socket = self.on_socket.acquire_many(MOST_ON_SOCKET).await;
                let _tcp = self.on_tcp.acquire_many(self.most_on_tcp).await;
            };
            let _closed = tokio::time::timeout(FLUSH, all).await;
        });
    }
}

/// Where a browser on this machine finds the page.
fn page_address(address: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { host_of(address) };
    format!("{scheme}://{host}:{}/", address.port())
}

fn host_of(address: SocketAddr) -> String {
    if address.is_ipv6() { format!("[{}]", address.ip()) } else { address.ip().to_string() }
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

/// Where connections come in.
enum ServerSocket {
    Socket(tokio::net::UnixListener),
    Tcp(TcpListener, Certificate),
}

enum AcceptedStream {
    Socket(UnixStream),
    Tcp(TcpStream, Option<TlsAcceptor>),
}

impl ServerSocket {
    async fn next(&self) -> io::Result<AcceptedStream> {
        Ok(match self {
            Self::Socket(listener) => AcceptedStream::Socket(listener.accept().await?.0),
            Self::Tcp(listener, tls) => AcceptedStream::Tcp(listener.accept().await?.0, tls.acceptor()),
        })
    }
}

/// What a connection is answered with.
pub(super) struct ConnectionService {
    pub(super) router: Router,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) permit: OwnedSemaphorePermit,
}

async fn accept(door: ServerSocket, router: Router, connections: Arc<Semaphore>, mut closing: watch::Receiver<bool>) {
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = door.next() => accepted,
            _ = closing.changed() => return,
        };
        let answering = ConnectionService { router: router.clone(), closing: closing.clone(), permit };
        match accepted {
            Ok(AcceptedStream::Socket(stream)) => drop(tokio::spawn(answering.converse(stream))),
            Ok(AcceptedStream::Tcp(stream, tls)) => drop(tokio::spawn(answering.welcome(stream, tls))),
            Err(error) => {
                warn!(error = chain(&error), "cannot accept a connection");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl ConnectionService {
    async fn welcome(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let _ = sockopt::set_tcp_user_timeout(&stream, UNREAD_LIMIT_MS);
        let Some(tls) = tls else { return self.converse(stream).await };
        match tokio::time::timeout(HEAD_PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream).await,
            Ok(Err(error)) => debug!(error = chain(&error), "TLS handshake failed"),
            Err(_) => debug!("TLS handshake timed out"),
        }
    }

    pub(super) async fn converse(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let _one_of_many = self.permit;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(HEAD_LIMIT_BYTES);
        let limit = WriteLimit::default();
        let (router, of_requests) = (TowerToHyperService::new(self.router.clone()), limit.clone());
        // Not a layer of the router: that would copy all routes for each connection, 100 KiB.
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(of_requests.clone());
            router.call(request)
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(Written::new(stream, limit)), service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            _ = self.closing.changed() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = connection.as_mut() => served,
                    _ = self.closing.changed() => return,
                }
            }
        };
        if let Err(error) = served {
            debug!(error = chain(&error), "connection ended early");
        }
    }
}
