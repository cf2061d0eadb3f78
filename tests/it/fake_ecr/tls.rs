//! A certificate authority of the fake's own, the one leaf of registry and storage, leaves on demand for the AWS API.
//!
//! All are made anew for each fake; the CA's key never leaves this module.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::route::suffix_of;
use super::s3::CLOUDFRONT;

/// The regions whose names the leaf certificate carries.
pub const REGIONS: [&str; 11] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-northeast-1",
    "ap-southeast-2",
    "us-gov-west-1",
    "cn-north-1",
    "eusc-de-east-1",
];

/// The accounts that have a name of their own in the certificate, beside the wildcards.
const ACCOUNTS: [&str; 3] = ["123456789012", "210987654321", "111122223333"];

/// What the TLS listeners need.
pub(super) struct Authority {
    /// The CA certificate as PEM.
    pub(super) ca_pem: String,
    /// One leaf with the names of registries and storages.
    pub(super) fixed: Arc<ServerConfig>,
    /// A leaf for whatever name is asked.
    pub(super) any_name: Arc<ServerConfig>,
}

/// A new CA and the server configurations whose leaves it signs.
pub(super) fn authority(extra_names: &[String]) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "fake ECR test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("ring makes a P-256 key");
    let certificate = params.self_signed(&key).expect("a CA signs itself");
    let issuer = Issuer::new(params, key);

    let fixed = Leaves::new(issuer);
    let leaf = fixed.issue(names(extra_names));
    let single = Arc::new(rustls::sign::SingleCertAndKey::from(leaf));
    Authority { ca_pem: certificate.pem(), fixed: config(single), any_name: config(Arc::new(fixed)) }
}

fn config(leaves: Arc<dyn ResolvesServerCert>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(leaves);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Issues a leaf for each name that a client asks for, and keeps it.
#[derive(Debug)]
struct Leaves {
    issuer: Issuer<'static, KeyPair>,
    issued: Mutex<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Leaves {
    fn new(issuer: Issuer<'static, KeyPair>) -> Self {
        Self { issuer, issued: Mutex::default() }
    }

    fn issue(&self, names: Vec<String>) -> CertifiedKey {
        let mut leaf = CertificateParams::new(names).expect("the names are ASCII");
        leaf.distinguished_name.push(DnType::CommonName, "fake ECR");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("ring makes a P-256 key");
        let chain = vec![leaf.signed_by(&key, &self.issuer).expect("the CA signs the leaf").der().clone()];
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS#8");
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain, private, &provider).expect("the key belongs to the leaf")
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // who sends no name has dialled an address
        let name = hello.server_name().unwrap_or("127.0.0.1").to_ascii_lowercase();
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let leaf = issued.entry(name).or_insert_with_key(|name| Arc::new(self.issue(vec![name.clone()])));
        Some(Arc::clone(leaf))
    }
}

fn names(extra: &[String]) -> Vec<String> {
    let fixed = [
        "localhost",
        "127.0.0.1",
        "public.ecr.aws",
        "ecr-public.aws.com",
        CLOUDFRONT,
        "api.ecr-public.us-east-1.amazonaws.com",
    ];
    let mut names: Vec<String> = fixed.map(str::to_owned).into();
    for region in REGIONS {
        let suffix = suffix_of(region);
        names.push(format!("*.dkr.ecr.{region}.{suffix}"));
        names.push(format!("*.dkr.ecr-fips.{region}.{suffix}"));
        names.push(format!("*.dkr-ecr.{region}.on.aws"));
        names.push(format!("*.dkr-ecr-fips.{region}.on.aws"));
        names.push(format!("*.s3.{region}.{suffix}"));
        names.push(format!("prod-{region}-starport-layer-bucket.s3.{region}.{suffix}"));
        names.push(format!("api.ecr.{region}.{suffix}"));
        for account in ACCOUNTS {
            names.push(format!("{account}.dkr.ecr.{region}.{suffix}"));
        }
    }
    names.extend_from_slice(extra);
    names
}
