//! TLS material: reading it for the ports, making it with `meridian cert`.
//!
//! A certificates directory holds `ca.crt`, `node.crt`, `node.key`. The SQL port shows the node certificate; between nodes both
//! sides must show one of the same CA.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The PEM files of a node.
#[derive(Clone, Debug)]
pub struct NodeMaterial {
    /// CA certificate.
    pub ca: Vec<u8>,
    /// Node certificate.
    pub certificate: Vec<u8>,
    /// Node key.
    pub key: Vec<u8>,
}

/// Reads a certificates directory.
pub fn read(directory: &Path) -> Result<NodeMaterial> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).with_context(|| format!("reading {} (make it with `meridian cert`)", path.display()))
    };
    Ok(NodeMaterial { ca: read("ca.crt")?, certificate: read("node.crt")?, key: read("node.key")? })
}

/// TLS for the SQL port.
pub fn acceptor(material: &NodeMaterial) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(&material.certificate).collect::<Result<Vec<_>, _>>().context("node.crt")?;
    let key = PrivateKeyDer::from_pem_slice(&material.key).context("node.key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// `meridian cert create-ca`: a CA in an empty directory.
pub fn create_ca(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Meridian CA");
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_new(&directory.join("ca.key"), key.serialize_pem().as_bytes(), true)?;
    write_new(&directory.join("ca.crt"), certificate.pem().as_bytes(), false)
}

/// `meridian cert create-node HOST…`: a certificate for a node reached by these names and addresses.
pub fn create_node(directory: &Path, hosts: &[String]) -> Result<()> {
    if hosts.is_empty() {
        bail!("name at least one host or address by which the node is reached");
    }
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(directory.join("ca.key")).context("reading ca.key")?)?;
    let ca_pem = std::fs::read_to_string(directory.join("ca.crt")).context("reading ca.crt")?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, ca_key)?;
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "node");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    write_new(&directory.join("node.key"), key.serialize_pem().as_bytes(), true)?;
    write_new(&directory.join("node.crt"), certificate.pem().as_bytes(), false)
}

/// Never overwrites: a lost key cannot be made again.
fn write_new(path: &Path, bytes: &[u8], secret: bool) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
