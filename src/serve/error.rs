//! Why HTTP cannot be served.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::fault::{Class, Fault};
use crate::recording::name::printable;

/// HTTP is not served on TCP.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Address {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Everybody who reaches the address could read everything.
    #[error("{0} is not a loopback address, and no token is configured")]
    Open(SocketAddr),
    /// A token cannot be read.
    #[error("cannot read the token `{}`", printable(path))]
    Token {
        /// Its file, or `env:NAME`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token is easily guessed.
    #[error("the token in `{}` has fewer than 16 characters", printable(.0))]
    ShortToken(PathBuf),
    /// Certificate or key cannot be used.
    #[error("TLS cannot be used with `{}`: {reason}", printable(path))]
    Tls {
        /// The file it is about.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A reload would turn TLS on or off.
    #[error("TLS cannot be turned {} while the address is open", if *to { "on" } else { "off" })]
    TlsSwitched {
        /// Whether it would be on.
        to: bool,
    },
}

impl Fault for ServeError {
    fn class(&self) -> Class {
        Class::Environment
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "Another program has this port. Set `serve.listen` to another address, or to \"off\".".to_owned()
            }
            Self::Address { .. } => "Set `serve.listen` to an address of this machine, or to \"off\".".to_owned(),
            Self::Open(_) => {
                "Set `serve.operate_token_file` (and `serve.read_token_file`), or listen on 127.0.0.1 behind a proxy."
                    .to_owned()
            }
            Self::Token { .. } | Self::ShortToken(_) => {
                "Write a token of at least 16 characters there, for example with `openssl rand -hex 24`, readable only by \
                 this user."
                    .to_owned()
            }
            Self::TlsSwitched { .. } => "Restart the daemon.".to_owned(),
            Self::Tls { .. } => "Set `serve.tls_cert` and `serve.tls_key` to a certificate chain and its private key, in PEM."
                .to_owned(),
        })
    }
}
