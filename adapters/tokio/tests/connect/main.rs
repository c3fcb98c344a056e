//! A client's way to a connection, over real sockets on the loopback.

mod certificates;
mod kit;
mod proxies;
mod redirects;
mod stages;
mod tls;
