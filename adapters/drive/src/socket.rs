//! What an adapter asks of the operating system beside bytes: entropy and socket options.

use std::io;

use socket2::SockRef;
use wspulse_core::{Config, Seed};

/// Draws a connection's secret from the operating system.
///
/// # Errors
///
/// If the operating system has no entropy to give.
pub fn seed() -> io::Result<Seed> {
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(io::Error::other)?;
    Ok(Seed::new(entropy))
}

/// Draws what spreads one client's reconnects from those of the others.
pub(crate) fn backoff_seed() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

/// Sets up a TCP socket for small messages, honest backpressure and a bounded end.
///
/// - TCP_NODELAY: the engine gathers small frames itself, and a ping must not wait for an
///   acknowledgement.
/// - TCP_NOTSENT_LOWAT, 128 KiB (Linux): how much unsent output the kernel takes before it pushes
///   back. Enough to keep the path busy, little enough that a control frame does not queue behind
///   megabytes that nobody can reorder.
/// - TCP_USER_TIMEOUT (Linux): the pong timeout, or the write stall timeout if that is longer.
///   The kernel gives up what nobody acknowledged when the engine does, and not a quarter of an
///   hour later. It counts a peer that only does not read against it too, whom the engine gives
///   `write_stall_timeout`; so it is never shorter than that.
///
/// Best effort: a socket that refuses an option still works, only less promptly.
pub fn tune<'s>(socket: impl Into<SockRef<'s>>, config: &Config) {
    let socket = socket.into();
    let _ = socket.set_tcp_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _ = socket.set_tcp_notsent_lowat(NOTSENT_LOWAT);
        // The option counts milliseconds in 32 bits; beyond them there is no limit to set.
        let patience = config.heartbeat().output_patience();
        if u32::try_from(patience.as_millis()).is_ok() {
            let _ = socket.set_tcp_user_timeout(Some(patience));
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = config;
}

/// Unsent output that the kernel takes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOTSENT_LOWAT: u32 = 128 * 1024;
