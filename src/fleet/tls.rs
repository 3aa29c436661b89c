//! TLS to the database: the server's certificate is always checked, against the system's certificates or a file.

use std::path::Path;
use std::sync::Arc;

use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::FleetError;
use crate::fault::chain;

/// What TLS is done with, where the server wants it.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<MakeRustlsConnect, FleetError> {
    let roots = ca_file.map_or_else(|| Ok(of_the_system()), from_file)?;
    // Named, as other libraries in the process bring a second provider and rustls then chooses none.
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| FleetError::Tls(chain(&error)))?;
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Without any, a server that wants TLS is refused when it is connected to, with its reason.
fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn from_file(path: &Path) -> Result<RootCertStore, FleetError> {
    let wrong = |reason: String| FleetError::Certificates { from: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(chain(&error)))? {
        let certificate = certificate.map_err(|error| wrong(chain(&error)))?;
        roots.add(certificate).map_err(|error| wrong(chain(&error)))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(roots) }
}
