//! An authority that vouches for servers on the loopback.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use wspulse_tokio::ConnectOptions;
use wspulse_tokio::tls::{client_config_from_pem, server_config_from_pem};
use wspulse_tokio::tokio_rustls::TlsAcceptor;

use crate::kit::options;

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Signs a certificate for `name`.
    pub(crate) fn sign(&self, name: &str) -> TlsAcceptor {
        self.sign_as(name, |_| {})
    }

    pub(crate) fn sign_as(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(name);
        change(&mut params);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.pem;
        acceptor(&chain, &key)
    }

    /// Options of a client that trusts this authority and no other.
    pub(crate) fn trusted(&self) -> ConnectOptions {
        let config = client_config_from_pem(self.pem.as_bytes()).unwrap();
        options().tls(config)
    }
}

/// A server whose certificate vouches for itself.
pub(crate) fn self_signed(name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let chain = leaf(name).self_signed(&key).unwrap().pem();
    acceptor(&chain, &key)
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "a server");
    params
}

fn acceptor(chain: &str, key: &KeyPair) -> TlsAcceptor {
    let key = key.serialize_pem();
    let config = server_config_from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::clone(&config))
}
