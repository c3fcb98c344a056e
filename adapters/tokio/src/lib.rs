//! Runs wspulse connections on tokio.
