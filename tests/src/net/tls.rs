//! Certificates made at run time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A server that is called `127.0.0.1` and `localhost`, and a client that trusts it.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For whoever is the client.
    pub client: Arc<ClientConfig>,
    /// For whoever is the server.
    pub server: Arc<ServerConfig>,
    /// The authority alone, for connectors that take roots and not a configuration.
    pub roots: Arc<RootCertStore>,
    /// The authority's certificate.
    pub authority: CertificateDer<'static>,
    /// The name that the client expects.
    pub name: ServerName<'static>,
}

impl Tls {
    /// Makes an authority and a server certificate signed by it.
    ///
    /// # Panics
    ///
    /// If the TLS library refuses its own keys.
    #[must_use]
    pub fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&authority_key).expect("a certificate");
        let issuer = Issuer::from_params(&params, &authority_key);

        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("two names");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("a root");
        let roots = Arc::new(roots);
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("a key that fits");
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
            roots,
            authority: authority.der().clone(),
            name: ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}
