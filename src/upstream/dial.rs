//! [`Dialer`]: opens connections, at the address the configuration gives for a name if it gives one.
//!
//! Only the address changes: TLS and the `Host` header keep the name, so a wrong address is found out.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use crate::config::{self, PortPattern};

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

#[derive(Clone, Debug)]
pub(super) struct Dialer {
    tcp: HttpConnector,
    connect_to: Arc<[(PortPattern, String)]>,
}

impl Dialer {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        Self { tcp, connect_to: config.connect_to.as_slice().into() }
    }

    fn address(&self, uri: Uri) -> Result<Uri, io::Error> {
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { HTTPS_PORT } else { HTTP_PORT });
        let host = uri.host().unwrap_or_default();
        let Some((_, target)) = self.connect_to.iter().find(|(pattern, _)| pattern.matches(host, port)) else {
            return Ok(uri);
        };
        // the target may leave the port as it is
        let target = if target.contains(':') { target.clone() } else { format!("{target}:{port}") };
        let moved = Uri::builder().scheme(if is_tls { "https" } else { "http" }).authority(target).path_and_query("/");
        moved.build().map_err(io::Error::other)
    }
}

impl Service<Uri> for Dialer {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = self.address(uri.clone()).unwrap_or(uri);
        self.tcp.call(address)
    }
}
