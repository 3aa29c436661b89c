//! HTTPS without a proxy: the certificate and its key, which a reload can replace.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::ServeError;
use crate::config::ServeOptions;
use crate::fault::chain;

/// What new connections are encrypted with.
#[derive(Clone)]
pub(super) struct Certificate(Arc<RwLock<Option<TlsAcceptor>>>);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("is_set", &self.acceptor().is_some()).finish()
    }
}

impl Certificate {
    pub fn new(acceptor: Option<TlsAcceptor>) -> Self {
        Self(Arc::new(RwLock::new(acceptor)))
    }

    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that come in from now on get another one. Whether TLS is spoken at all does not change while the address is open.
    pub fn replace(&self, acceptor: Option<TlsAcceptor>) -> Result<(), ServeError> {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() != acceptor.is_some() {
            return Err(ServeError::TlsSwitched { to: acceptor.is_some() });
        }
        *known = acceptor;
        Ok(())
    }
}

/// What TLS is done with, if a certificate is set.
pub(super) fn of(options: &ServeOptions) -> Result<Option<TlsAcceptor>, ServeError> {
    let missing =
        |path: &Path, name| ServeError::Tls { path: path.into(), reason: format!("`serve.{name}` is not set") };
    match (&options.tls_cert, &options.tls_key) {
        (Some(cert), Some(key)) => acceptor(cert, key).map(Some),
        (Some(cert), None) => Err(missing(cert, "tls_key")),
        (None, Some(key)) => Err(missing(key, "tls_cert")),
        (None, None) => Ok(None),
    }
}

/// Reads both and checks that they belong together.
fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let wrong =
        |path: &Path, reason: &dyn std::error::Error| ServeError::Tls { path: path.into(), reason: chain(reason) };
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|e| wrong(cert, &e))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, &e))?;
    // Named, as other libraries in the process bring a second provider and rustls then chooses none.
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.map_err(|e| wrong(key, &e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
