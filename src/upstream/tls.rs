//! TLS towards upstreams: the one place where the crypto provider, ring, is named.
//!
//! Trusts the machine's certificates and the configured file. Nothing turns verification off.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tracing::warn;

use crate::config;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configured certificates cannot be read.
    #[error("upstream.ca_file {}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// rustls does not take the provider's versions.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

pub(super) fn client_config(config: &config::Upstream) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "a certificate of this machine cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = &config.ca_file {
        let failed = |source| Error::CaFile { path: path.clone(), source };
        for certificate in certificates(path).map_err(failed)? {
            roots.add(certificate).map_err(|error| failed(io::Error::other(error)))?;
        }
    }
    if roots.is_empty() {
        warn!("this machine trusts no certificate authority: every TLS connection will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

fn certificates(path: &std::path::Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(io::Error::other)?;
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no PEM certificate in it"));
    }
    Ok(certificates)
}
