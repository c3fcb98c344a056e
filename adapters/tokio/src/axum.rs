//! An extractor for axum.

use std::fmt;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use wspulse_core::Config;
use wspulse_core::handshake::{Accept, AnswerError, Request};

use crate::upgrade::{Asked, Head, Upgrade, UpgradeError, Upgraded};
use crate::websocket::WebSocket;

/// Extracts a valid request for a WebSocket connection from an [axum] handler's request; any other
/// is rejected with the right status, see [`UpgradeError::status`].
///
/// Use it with `routing::any`, which leaves the method to it.
///
/// A server that browsers can reach and that trusts cookies must look at the
/// [request](Self::request)'s origin first.
///
/// ```
/// use axum::response::Response;
/// use axum::routing::any;
/// use wspulse_core::handshake::OriginCheck;
/// use wspulse_tokio::WebSocketUpgrade;
///
/// async fn chat(upgrade: WebSocketUpgrade) -> Result<Response, axum::http::StatusCode> {
///     match upgrade.request().check_same_origin("https") {
///         OriginCheck::Allowed | OriginCheck::Absent => {}
///         OriginCheck::Refused => return Err(axum::http::StatusCode::FORBIDDEN),
///     }
///     let upgrade = upgrade.subprotocols(["chat.v2", "chat.v1"]);
///     Ok(upgrade.on_upgrade(|mut ws| async move {
///         while let Some(Ok(message)) = ws.next().await {
///             if ws.feed(message).await.is_err() {
///                 break;
///             }
///         }
///     }))
/// }
///
/// let app: axum::Router = axum::Router::new().route("/chat", any(chat));
/// ```
///
/// The socket's options are the server's: see [`tune`](crate::tune).
///
/// [axum]: https://docs.rs/axum
#[must_use = "the connection is accepted by `on_upgrade`"]
pub struct WebSocketUpgrade {
    asked: Asked,
    on_upgrade: OnUpgrade,
    config: Arc<Config>,
    accept: Accept,
    subprotocol: Option<String>,
}

impl WebSocketUpgrade {
    /// Sets the configuration; the default one otherwise.
    pub fn config(mut self, config: impl Into<Arc<Config>>) -> Self {
        self.config = config.into();
        self
    }

    /// Chooses the subprotocol that the client prefers among these; none if it offered none of
    /// them.
    pub fn subprotocols<'a>(mut self, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let mut offered = self.asked.request.subprotocols();
        let chosen = offered.find(|name| known.contains(name)).map(str::to_owned);
        drop(offered);
        if let Some(name) = &chosen
            && let Ok(accept) = self.accept.clone().subprotocol(name)
        {
            self.accept = accept;
            self.subprotocol = chosen;
        }
        self
    }

    /// Returns the subprotocol that was chosen.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Adds a header to the response, such as `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// As [`Accept::header`].
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, AnswerError> {
        self.accept = self.accept.header(name, value)?;
        Ok(self)
    }

    /// Returns the request: its origin, its target, the subprotocols it offers.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.asked.request
    }

    /// Accepts, and runs `serve` in a task of its own once the response has left. Nothing runs if
    /// the client is gone by then, or the server does not allow upgrades; with the feature `tracing`
    /// the log says so.
    #[must_use = "the response is for the client"]
    pub fn on_upgrade<F, T>(self, serve: F) -> Response
    where
        F: FnOnce(WebSocket<Upgraded>) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        match self.asked.accept(&self.accept, &self.config) {
            Ok((response, agreed)) => {
                let upgrade = Upgrade::new(self.on_upgrade, self.config, agreed);
                tokio::spawn(async move {
                    match upgrade.await {
                        Ok(ws) => serve(ws).await,
                        Err(error) => crate::trace::upgrade_failed(&error),
                    }
                });
                response.map(Body::from)
            }
            Err(error) => UpgradeError::Answer(error).into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = UpgradeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, UpgradeError> {
        let asked = Asked::read(&Head {
            method: &parts.method,
            uri: &parts.uri,
            version: parts.version,
            headers: &parts.headers,
        })?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        Ok(Self {
            asked,
            on_upgrade: on_upgrade.ok_or(UpgradeError::NotUpgradable)?,
            config: Arc::default(),
            accept: Accept::new(),
            subprotocol: None,
        })
    }
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        self.to_response().map(Body::from)
    }
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("subprotocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}
