//! Certificates and keys, as the command line names them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use wspulse_drive::{ConnectOptions, tls};

use crate::Failure;
use crate::cause::Why;

/// What a server shows to its clients.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Identity {
    /// Serve wss:// with the certificate chain in this PEM file
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's private key, in this PEM file
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,
}

impl Identity {
    /// Loads it, if TLS is wanted.
    pub(crate) fn load(&self) -> Result<Option<Arc<ServerConfig>>, Failure> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let config = tls::server_config_from_pem(&read(cert)?, &read(key)?)
            .map_err(|error| unusable(cert, error))?;
        Ok(Some(config))
    }
}

/// Sets which certificates a client trusts: those in `ca`, or else the usual ones.
pub(crate) fn client(
    options: ConnectOptions,
    ca: Option<&Path>,
) -> Result<ConnectOptions, Failure> {
    let Some(ca) = ca else {
        return Ok(options);
    };
    let config = tls::client_config_from_pem(&read(ca)?).map_err(|error| unusable(ca, error))?;
    Ok(options.tls(config))
}

fn unusable(path: &Path, error: rustls::Error) -> Failure {
    let path = path.display();
    match error {
        // Its own words for these begin with "unexpected error".
        rustls::Error::General(error) => Failure::because("pem", format_args!("{path}: {error}")),
        error => Failure::because("pem", format_args!("{path}: {error}")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let mut why = Why::io(&error);
        why.text = format!("{}: {error}", path.display());
        Failure::Failed(why)
    })
}
