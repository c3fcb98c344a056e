//! TLS by rustls: which certificates to trust, and a session without I/O.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

pub use rustls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct,
    OtherError, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use wspulse_core::Transmit;

use crate::error::Error;
use crate::url::{Target, UrlError};

/// Makes a client's configuration that trusts what `roots` vouch for. Names and expiry are
/// verified.
///
/// # Errors
///
/// If no protocol version is left to speak.
pub fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes a client's configuration that trusts the certificates in `pem` and no others: what they
/// vouch for, and themselves. So the server's own certificate may be among them, also one that
/// `openssl req -x509` made, which says of itself that it is an authority. Names and expiry are
/// verified either way.
///
/// # Errors
///
/// If there is no certificate in it, or one that is malformed.
pub fn client_config_from_pem(pem: &[u8]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let verifier = TrustedOnly::new(certificates(pem)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Makes a server's configuration from its certificate chain and its private key, both PEM.
///
/// # Errors
///
/// If either is missing or malformed, or they do not belong together.
pub fn server_config_from_pem(
    chain: &[u8],
    key: &[u8],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| rustls::Error::General(format!("no private key: {error}")))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, key)?;
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(rustls::Error::General("no certificate in the pem".into())),
        Err(error) => Err(rustls::Error::General(format!("no certificate: {error}"))),
    }
}

/// Verifies a server's certificate as usual, and takes one that is itself among the trusted.
#[derive(Debug)]
struct TrustedOnly {
    usual: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl TrustedOnly {
    fn new(trusted: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            roots.add(certificate.clone())?;
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let usual = usual
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { usual, trusted })
    }
}

impl ServerCertVerifier for TrustedOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // webpki looks at the validity in time before it says one of these.
            Err(error) if is_about_issuer(&error) && self.trusted.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Tells whether a certificate is only refused for where it stands in a chain: nobody trusted
/// vouches for it, or it is an authority's.
fn is_about_issuer(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) => {
            let error = error.downcast_ref::<webpki::Error>();
            matches!(error, Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns the configuration of the feature that says which certificates to trust: always the
/// same, so that the system's are read once, and sessions are resumed.
pub(crate) fn default_client_config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let config = make_default_client_config()?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

fn make_default_client_config() -> Result<Arc<ClientConfig>, Error> {
    #[cfg(feature = "platform-verifier")]
    {
        use rustls_platform_verifier::BuilderVerifierExt;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
    #[cfg(all(feature = "native-roots", not(feature = "platform-verifier")))]
    {
        let mut roots = RootCertStore::empty();
        // Some of a system's certificates are always malformed; none at all is an error later.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Ok(client_config(roots)?)
    }
    #[cfg(all(
        feature = "webpki-roots",
        not(any(feature = "native-roots", feature = "platform-verifier"))
    ))]
    {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        Ok(client_config(roots)?)
    }
    #[cfg(not(any(
        feature = "webpki-roots",
        feature = "native-roots",
        feature = "platform-verifier"
    )))]
    Err(UrlError::Tls.into())
}

/// Returns the name that a certificate for `target` has to carry.
///
/// # Errors
///
/// [`UrlError::Host`] if no certificate can carry it.
pub fn server_name(target: &Target) -> Result<ServerName<'static>, UrlError> {
    ServerName::try_from(target.host()).map_err(|_| UrlError::Host)
}

/// One TLS connection without I/O of its own, between a socket that does not wait and a
/// [`Drive`](crate::Drive).
///
/// Output counts as taken when its last encrypted byte went to the socket, so the engine's clocks
/// start when bytes really leave. At most 80 KiB of output are held in encrypted form.
#[derive(Debug)]
pub struct TlsSession {
    session: Box<Connection>,
    /// How much of what is lent is encrypted already, and on its way to the socket.
    encrypted: usize,
}

impl TlsSession {
    /// Starts a client's session with the server `name`.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::new(ClientConnection::new(config, name)?.into()))
    }

    /// Starts a server's session.
    ///
    /// # Errors
    ///
    /// If the configuration cannot work.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::new(ServerConnection::new(config)?.into()))
    }

    fn new(mut session: Connection) -> Self {
        // The limit of rustls is a little short of what the engine commits at once to begin with,
        // which would then leave in two writes.
        session.set_buffer_limit(Some(BUFFER_LIMIT));
        Self {
            session: Box::new(session),
            encrypted: 0,
        }
    }

    /// Tells whether the TLS handshake is under way.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Tells whether encrypted output waits for the socket.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        self.session.wants_write()
    }

    /// Returns the rustls connection, for its certificates or the protocol that was agreed on.
    #[must_use]
    pub fn session(&self) -> &Connection {
        &self.session
    }

    /// Reads plain bytes, from the socket if none wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the socket has no more now; `InvalidData` around a [`rustls::Error`] if
    /// what came is not TLS as agreed; else the socket's own.
    pub fn read(
        &mut self,
        socket: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                // A stream that ends without a word of TLS has ended all the same: WebSocket has
                // its own last word, so nothing can be cut off unnoticed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.session.read_tls(socket)?;
            let processed = self.session.process_new_packets();
            // Answers of the handshake leave at once, and so does the alert that says what is
            // wrong. What the socket does not take now waits for a flush.
            let sent = self.flush(socket);
            if let Err(error) = processed {
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }

    /// Writes what is lent; returns how much of it has left, encrypted, to its last byte.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the socket takes no more now, or the TLS handshake is under way; else the
    /// socket's own.
    pub fn write(&mut self, socket: &mut impl Write, transmit: &Transmit<'_>) -> io::Result<usize> {
        self.flush(socket)?;
        if self.session.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What was held back has left now.
        let mut left = std::mem::take(&mut self.encrypted);
        let mut skipped = left;
        for chunk in transmit.chunks() {
            let mut rest = chunk.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(chunk.len());
            while !rest.is_empty() {
                let count = self.session.writer().write(rest)?;
                self.encrypted += count;
                rest = rest.get(count..).unwrap_or_default();
                if !rest.is_empty() && !self.send(socket, &mut left)? {
                    return Ok(left);
                }
            }
        }
        self.send(socket, &mut left)?;
        Ok(left)
    }

    /// Sends what is encrypted and counts it to what has left; tells whether the socket took all,
    /// and says `WouldBlock` only if nothing has left.
    fn send(&mut self, socket: &mut impl Write, left: &mut usize) -> io::Result<bool> {
        match self.flush(socket) {
            Ok(()) => {
                *left += std::mem::take(&mut self.encrypted);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && *left > 0 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends on what is encrypted.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the socket takes no more now; else the socket's own.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Says that nothing more will be written (RFC 8446 §6.1); once. Then half-close the socket.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); call it again after `WouldBlock`.
    pub fn shutdown(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush(socket)
    }
}

#[cfg(all(
    test,
    any(
        feature = "webpki-roots",
        feature = "native-roots",
        feature = "platform-verifier"
    )
))]
mod tests {
    use std::sync::Arc;

    use super::default_client_config;

    #[test]
    fn the_trusted_certificates_are_read_once() {
        let first = default_client_config().unwrap();
        let second = default_client_config().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }
}

/// Plain bytes that are encrypted at once, at most: 64 KiB and the headers between them.
const BUFFER_LIMIT: usize = 80 * 1024;
