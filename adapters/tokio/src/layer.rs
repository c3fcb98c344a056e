//! The TLS layer that a URL asks for.

use tokio::net::TcpStream;
#[cfg(feature = "tls")]
use wspulse_drive::Stage;
use wspulse_drive::{ConnectOptions, Target};

use crate::Error;
use crate::maybe_tls::MaybeTls;
#[cfg(feature = "tls")]
use crate::tcp::in_time;

/// What goes between TCP and WebSocket. Made before anything is done, so that a URL that cannot
/// be served is refused at once.
pub(crate) enum Layer {
    None,
    #[cfg(feature = "tls")]
    Tls {
        connector: tokio_rustls::TlsConnector,
        name: tokio_rustls::rustls::pki_types::ServerName<'static>,
    },
}

impl Layer {
    #[cfg(feature = "tls")]
    pub(crate) fn new(target: &Target, options: &ConnectOptions) -> Result<Self, Error> {
        if !target.is_secure() {
            return Ok(Self::None);
        }
        Ok(Self::Tls {
            connector: options.tls_config()?.into(),
            name: wspulse_drive::tls::server_name(target)?,
        })
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(target: &Target, _: &ConnectOptions) -> Result<Self, Error> {
        if target.is_secure() {
            return Err(wspulse_drive::UrlError::Tls.into());
        }
        Ok(Self::None)
    }

    /// Shakes hands over `stream`, within the stage's time.
    #[cfg(feature = "tls")]
    pub(crate) async fn wrap(
        self,
        stream: TcpStream,
        options: &ConnectOptions,
    ) -> Result<MaybeTls<TcpStream>, Error> {
        match self {
            Self::None => Ok(MaybeTls::Plain(stream)),
            Self::Tls { connector, name } => {
                let handshake = connector.connect(name, stream);
                let stream = in_time(Stage::Tls, options, handshake).await?;
                Ok(stream.into())
            }
        }
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) async fn wrap(
        self,
        stream: TcpStream,
        _: &ConnectOptions,
    ) -> Result<MaybeTls<TcpStream>, Error> {
        Ok(MaybeTls::Plain(stream))
    }
}
