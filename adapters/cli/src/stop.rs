//! The user wants to stop.

use std::sync::mpsc;
use std::{io, process, thread};

use tokio::sync::oneshot;

/// Returns a future that ends with the first SIGINT (Ctrl-C) or SIGTERM from now on. Another one
/// ends the program at once, whatever it is busy with.
pub(crate) fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    let (first, came) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        // Who is ending already need not be told.
        let _ = first.send(());
        signals.next().await;
        exit();
    });
    Ok(async {
        let _ = came.await;
    })
}

/// Runs `then` in a thread of its own after the first such signal, for those who have no runtime.
/// Another one ends the program at once.
pub(crate) fn on_request(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let (first, came) = mpsc::channel::<()>();
    // It may be busy for long, while the other thread listens on.
    thread::Builder::new().spawn(move || {
        // The sender is only ever dropped.
        let _ = came.recv();
        then();
    })?;
    thread::Builder::new().spawn(move || {
        runtime.block_on(signals.next());
        drop(first);
        runtime.block_on(signals.next());
        exit();
    })?;
    Ok(())
}

fn exit() -> ! {
    process::exit(1)
}

/// SIGINT and SIGTERM.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}
