//! The servers: they hold on to every connection, and have nothing to say.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};
use wspulse_core::handshake::Response;
use wspulse_core::{Closed, Config, Event, Message};
use wspulse_mio::{ConnectionId, Connections, EventLoop, Handler};

/// Serves every connection of a listener that does not block, for as long as the process is there.
pub(crate) type Host = fn(TcpListener, Arc<Config>, &Arc<Tally>);

pub(crate) fn all() -> Vec<(&'static str, Host)> {
    vec![
        ("many/mio", mio),
        ("many/tokio-one-thread", tokio_one_thread),
        ("many/tokio-two-threads", tokio_two_threads),
    ]
}

/// What becomes of the connections.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    opened: AtomicUsize,
    suspicions: AtomicUsize,
    ends: AtomicUsize,
    first_end: Mutex<Option<String>>,
}

impl Tally {
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    pub(crate) fn suspicions(&self) -> usize {
        self.suspicions.load(Ordering::SeqCst)
    }

    pub(crate) fn ends(&self) -> usize {
        self.ends.load(Ordering::SeqCst)
    }

    pub(crate) fn first_end(&self) -> Option<String> {
        self.first_end.lock().expect("no panic").clone()
    }

    fn open(&self) {
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    fn event(&self, event: &Event) {
        if matches!(event, Event::Suspect) {
            self.suspicions.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn end(&self, how: impl FnOnce() -> String) {
        self.ends.fetch_add(1, Ordering::SeqCst);
        let mut first = self.first_end.lock().expect("no panic");
        first.get_or_insert_with(how);
    }
}

fn tokio_one_thread(listener: TcpListener, config: Arc<Config>, tally: &Arc<Tally>) {
    let runtime = Builder::new_current_thread().enable_all().build();
    tokio(runtime.expect("a runtime"), listener, config, tally);
}

fn tokio_two_threads(listener: TcpListener, config: Arc<Config>, tally: &Arc<Tally>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    tokio(runtime.expect("a runtime"), listener, config, tally);
}

fn tokio(runtime: Runtime, listener: TcpListener, config: Arc<Config>, tally: &Arc<Tally>) {
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        loop {
            let (stream, _) = listener.accept().await.expect("room for a connection");
            let (config, tally) = (Arc::clone(&config), Arc::clone(tally));
            tokio::spawn(async move {
                let mut ws = match wspulse_tokio::accept(stream, config).await {
                    Ok(ws) => ws,
                    Err(error) => return tally.end(|| error.to_string()),
                };
                tally.open();
                while let Some(event) = ws.next_event().await {
                    match event {
                        Event::Closed(closed) => tally.end(|| closed.to_string()),
                        event => tally.event(&event),
                    }
                }
            });
        }
    });
}

fn mio(listener: TcpListener, config: Arc<Config>, tally: &Arc<Tally>) {
    let mut event_loop = EventLoop::new(Holder(Arc::clone(tally))).expect("a loop");
    let listener = mio::net::TcpListener::from_std(listener);
    let listening = event_loop.connections().listen(listener, config);
    listening.expect("a listener");
    event_loop.run().expect("a loop that runs");
}

/// What the loop tells, into the tally.
struct Holder(Arc<Tally>);

impl Handler for Holder {
    fn open(&mut self, _: &mut Connections, _: ConnectionId, _: Option<&Response>) {
        self.0.open();
    }

    fn message(&mut self, _: &mut Connections, _: ConnectionId, _: Message) {}

    fn event(&mut self, _: &mut Connections, _: ConnectionId, event: Event) {
        self.0.event(&event);
    }

    fn closed(
        &mut self,
        _: &mut Connections,
        _: ConnectionId,
        end: Result<Box<Closed>, wspulse_mio::Error>,
    ) {
        self.0.end(|| match end {
            Ok(closed) => closed.to_string(),
            Err(error) => error.to_string(),
        });
    }
}
