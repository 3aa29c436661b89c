//! HTTPS without a proxy: the certificate and its key.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::ServeError;
use crate::config::ServeOptions;
use crate::fault::chain;

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
