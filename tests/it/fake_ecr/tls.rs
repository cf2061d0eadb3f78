//! A certificate authority of the fake's own and the one leaf that every TLS listener shows.
//!
//! Both are made anew for each fake; the CA's key is dropped at once and never leaves this module.
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

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

/// The CA certificate as PEM and a server configuration whose leaf it signed.
pub(super) fn authority(extra_names: &[String]) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "fake ECR test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("ring makes a P-256 key");
    let certificate = params.self_signed(&key).expect("a CA signs itself");
    let issuer = Issuer::new(params, key);

    let mut leaf = CertificateParams::new(names(extra_names)).expect("the names are ASCII");
    leaf.distinguished_name.push(DnType::CommonName, "fake ECR");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate().expect("ring makes a P-256 key");
    let chain = vec![leaf.signed_by(&leaf_key, &issuer).expect("the CA signs the leaf").der().clone()];
    let private = PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("rcgen writes PKCS#8");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .expect("the key belongs to the leaf");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (certificate.pem(), Arc::new(config))
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
