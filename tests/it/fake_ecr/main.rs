//! The fake ECR as a program, for demonstrations and for tests with real clients.
//!
//! Prints one line of JSON when it listens and runs until it is told to stop. It serves loopback tests,
//! never anything that matters.
#[path = "mod.rs"]
mod fake_ecr;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use fake_ecr::{FakeEcr, Knob, Options, parse_image};

/// A fake Amazon ECR on this machine.
#[derive(Debug, Parser)]
#[command(name = "fake-ecr")]
struct Arguments {
    /// Registry over TLS.
    #[arg(long, default_value = "127.0.0.1:0")]
    registry_listen: SocketAddr,
    /// Registry over plain HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    registry_plain_listen: SocketAddr,
    /// Blob storage over TLS.
    #[arg(long, default_value = "127.0.0.1:0")]
    s3_listen: SocketAddr,
    /// Blob storage over plain HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    s3_plain_listen: SocketAddr,
    /// AWS API, plain HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    api_listen: SocketAddr,
    /// AWS API over TLS, for any name.
    #[arg(long, default_value = "127.0.0.1:0")]
    api_tls_listen: SocketAddr,
    /// HTTP proxy whose tunnels all end at the AWS API over TLS.
    #[arg(long, default_value = "127.0.0.1:0")]
    proxy_listen: SocketAddr,
    /// Instance metadata and container credentials, plain HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    metadata_listen: SocketAddr,
    /// Control interface, plain HTTP.
    #[arg(long, default_value = "127.0.0.1:0")]
    control_listen: SocketAddr,
    /// Where to write the CA certificate; a file in the temporary directory without it.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// HOST/NAME:TAG[,layers=N][,layer-size=BYTES[+BYTES...]][,platforms=A+B][,format=docker|oci][,seed=N]
    #[arg(long = "image")]
    images: Vec<String>,
    /// Bytes per second of all blob transfers together.
    #[arg(long)]
    s3_rate: Option<u64>,
    /// Milliseconds before every answer.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// One more name for the certificate.
    #[arg(long = "name")]
    names: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let images: Vec<_> = arguments.images.iter().map(|text| parse_image(text)).collect::<Result<_, _>>()?;
    let ca_file = arguments.ca_file.unwrap_or_else(|| {
        let name = format!("fake-ecr-{}.pem", std::process::id());
        std::env::temp_dir().join(name)
    });
    let fake = FakeEcr::start_with(Options {
        registry_tls: arguments.registry_listen,
        registry_plain: arguments.registry_plain_listen,
        s3_tls: arguments.s3_listen,
        s3_plain: arguments.s3_plain_listen,
        api: arguments.api_listen,
        api_tls: arguments.api_tls_listen,
        proxy: arguments.proxy_listen,
        metadata: arguments.metadata_listen,
        control: arguments.control_listen,
        ca_file: Some(ca_file.clone()),
        names: arguments.names,
    })
    .await;
    fake.set(Knob::S3Rate(arguments.s3_rate));
    fake.set(Knob::Latency(Duration::from_millis(arguments.latency_ms)));
    for (repository, tag, image) in images {
        fake.push_image(&repository, &tag, image);
    }
    announce(&fake, &ca_file.display().to_string());
    stop_asked().await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the one line that tells where it listens")]
fn announce(fake: &FakeEcr, ca_file: &str) {
    let line = serde_json::json!({
        "registry": fake.registry_address(),
        "registry_plain": fake.registry_plain_address(),
        "s3": fake.s3_address(),
        "s3_plain": fake.s3_plain_address(),
        "api": fake.api_url(),
        "api_tls": fake.api_tls_address(),
        "proxy": fake.proxy_url(),
        "metadata": fake.metadata_url(),
        "control": fake.control_url(),
        "ca_file": ca_file,
    });
    println!("{line}");
}

#[cfg(unix)]
async fn stop_asked() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn stop_asked() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
