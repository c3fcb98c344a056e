//! Where connections come from: listeners, URLs, streams of the caller's.

use std::io;
use std::sync::Arc;

use mio::Interest;
use mio::event::Source as _;
use wspulse_core::Config;
use wspulse_core::handshake::ClientRequest;
#[cfg(feature = "tls")]
use wspulse_drive::tls::rustls::ServerConfig;
use wspulse_drive::{ConnectOptions, Error};

use super::connecting::{Connecting, Plan};
use super::connections::{Connections, Stage, Wants};
use super::handler::{ConnectionId, ListenerId};
use super::listener::{Listener, Listening};
use crate::stream::Socket;
use crate::websocket::{self, WebSocket};

impl Connections {
    /// Takes the connections that come to `listener`. The handler's
    /// [`request`](crate::Handler::request) decides about each.
    ///
    /// # Errors
    ///
    /// If the listener cannot be registered.
    pub fn listen(
        &mut self,
        listener: impl Into<Listener>,
        config: impl Into<Arc<Config>>,
    ) -> io::Result<ListenerId> {
        self.add_listener(Listening {
            listener: listener.into(),
            config: config.into(),
            #[cfg(feature = "tls")]
            tls: None,
            is_ready: true,
            retry_at: None,
        })
    }

    /// Takes the connections that come to `listener` and speak TLS.
    ///
    /// # Errors
    ///
    /// If the listener cannot be registered.
    #[cfg(feature = "tls")]
    pub fn listen_tls(
        &mut self,
        listener: impl Into<Listener>,
        tls: impl Into<Arc<ServerConfig>>,
        config: impl Into<Arc<Config>>,
    ) -> io::Result<ListenerId> {
        self.add_listener(Listening {
            listener: listener.into(),
            config: config.into(),
            tls: Some(tls.into()),
            is_ready: true,
            retry_at: None,
        })
    }

    fn add_listener(&mut self, listening: Listening) -> io::Result<ListenerId> {
        let entry = self.listeners.vacant_entry();
        let id = ListenerId(entry.key());
        let listening = entry.insert(listening);
        let registered =
            listening
                .listener
                .as_source()
                .register(&self.registry, id.token(), Interest::READABLE);
        if registered.is_err() {
            self.listeners.remove(id.0);
        }
        registered.map(|()| id)
    }

    /// Stops listening, and returns the listener.
    pub fn unlisten(&mut self, id: ListenerId) -> Option<Listener> {
        let mut listener = self.listeners.try_remove(id.0)?.listener;
        // One that cannot be deregistered is when it is closed.
        let _ = listener.as_source().deregister(&self.registry);
        Some(listener)
    }

    /// Returns a listener, for its address.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(id.0).map(|entry| &entry.listener)
    }

    /// Connects to a `ws://` or `wss://` URL. `options` may be a [`Config`] alone.
    ///
    /// A name is looked up in a thread of its own; TCP, TLS, the handshakes and up to
    /// `max_redirects` redirects follow without waiting. The handler's
    /// [`open`](crate::Handler::open) says that it is there,
    /// [`closed`](crate::Handler::closed) that it never will be.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] and [`Error::Request`] for what can never work, also
    /// [`Error::Tls`](Error) if there are no certificates to trust; [`Error::NotOpen`] during a
    /// [`drain`](Self::drain).
    pub fn connect(
        &mut self,
        url: &str,
        options: impl Into<ConnectOptions>,
    ) -> Result<ConnectionId, Error> {
        let plan = Plan::new(url, options.into())?;
        if self.drain.is_some() {
            return Err(Error::NotOpen);
        }
        let id = self.insert(Stage::Between);
        self.go(id, plan);
        Ok(id)
    }

    /// Begins the way to a server.
    pub(super) fn go(&mut self, id: ConnectionId, plan: Plan) {
        let connecting = match plan.address() {
            Ok(address) => Connecting::tcp(plan, vec![address], self.place(id)),
            Err((host, port)) => match self.lookups.start(id, host, port) {
                Ok(()) => Connecting::lookup(plan),
                Err(error) => Connecting::failed(plan, error.into()),
            },
        };
        if let Some(entry) = self.entry_mut(id) {
            entry.stage = Stage::Connecting(Box::new(connecting));
            self.schedule(id, Wants::Turn);
        }
    }

    /// Takes over a server's end, from [`accept`](crate::accept) or
    /// [`accept_with`](crate::accept_with), or a client's, from [`client`](crate::client), before
    /// its first turn. During a [`drain`](Self::drain) it is over at once.
    ///
    /// # Errors
    ///
    /// If the stream cannot be registered.
    pub fn add(&mut self, ws: WebSocket<Socket>) -> io::Result<ConnectionId> {
        let id = self.insert(Stage::Running(ws));
        let registry = &self.registry;
        let entry = &mut self.entries[id.index as usize];
        if let Stage::Running(ws) = &mut entry.stage
            && let Err(error) = ws.register(
                registry,
                id.token(),
                Interest::READABLE | Interest::WRITABLE,
            )
        {
            self.entries.remove(id.index as usize);
            return Err(error);
        }
        self.schedule(id, Wants::Turn);
        if self.drain.is_some() {
            self.abort(id);
        }
        Ok(id)
    }

    /// Takes a client's connection on `stream`, which the handler's
    /// [`request`](crate::Handler::request) decides about.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the stream cannot be registered, or the operating system has no entropy to
    /// give.
    pub fn accept(
        &mut self,
        stream: impl Into<Socket>,
        config: impl Into<Arc<Config>>,
    ) -> Result<ConnectionId, Error> {
        let ws = websocket::accept_with(stream.into(), config)?;
        Ok(self.add(ws)?)
    }

    /// As [`accept`](Self::accept), with TLS.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept), and [`Error::Tls`] if the configuration cannot work.
    #[cfg(feature = "tls")]
    pub fn accept_tls(
        &mut self,
        stream: impl Into<Socket>,
        tls: impl Into<Arc<ServerConfig>>,
        config: impl Into<Arc<Config>>,
    ) -> Result<ConnectionId, Error> {
        let ws = websocket::accept_tls_with(stream.into(), tls, config)?;
        Ok(self.add(ws)?)
    }

    /// Asks for a connection over `stream`, which may still be connecting.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn client(
        &mut self,
        stream: impl Into<Socket>,
        request: &ClientRequest,
        config: impl Into<Arc<Config>>,
    ) -> Result<ConnectionId, Error> {
        let ws = websocket::client(stream.into(), request, config)?;
        Ok(self.add(ws)?)
    }
}
