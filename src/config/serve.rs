//! What `serve` is set to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// `[serve]`: the HTTP interface of the daemon on TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// Address and port; none where nothing is served on TCP.
    pub listen: Option<SocketAddr>,
    /// File with the token for what only reads.
    pub read_token_file: Option<PathBuf>,
    /// File with the token for everything.
    pub operate_token_file: Option<PathBuf>,
    /// Certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether the page is served at `/`.
    pub page: bool,
    /// Origins whose pages may read answers (CORS).
    pub origins: Vec<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8420))),
            read_token_file: None,
            operate_token_file: None,
            tls_cert: None,
            tls_key: None,
            page: true,
            origins: Vec::new(),
        }
    }
}
