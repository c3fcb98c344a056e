//! The user wants to stop.

use std::{io, thread};

/// Returns a future that ends with the first SIGINT (Ctrl-C) or SIGTERM from now on.
#[cfg(unix)]
pub(crate) fn requested() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Returns a future that ends with the first Ctrl-C from now on.
#[cfg(not(unix))]
pub(crate) fn requested() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Runs `then` in a thread of its own after the first such signal, for those who have no runtime.
pub(crate) fn on_request(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let requested = runtime.block_on(async { requested() })?;
    thread::spawn(move || {
        runtime.block_on(requested);
        then();
    });
    Ok(())
}
