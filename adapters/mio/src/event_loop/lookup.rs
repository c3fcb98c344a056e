//! Names to addresses, in threads of their own: the system's resolver waits.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use mio::Waker;

use super::handler::ConnectionId;

/// Looks names up, at most four at a time; the others wait for their turn.
#[derive(Debug)]
pub(crate) struct Lookups {
    queue: Arc<Mutex<Queue>>,
    waker: Arc<Waker>,
    found: Receiver<Found>,
    sender: Sender<Found>,
}

/// Whose lookup came to what.
pub(crate) type Found = (ConnectionId, io::Result<Vec<SocketAddr>>);

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
}

#[derive(Debug)]
struct Job {
    id: ConnectionId,
    host: String,
    port: u16,
}

impl Lookups {
    pub(crate) fn new(waker: Arc<Waker>) -> Self {
        let (sender, found) = channel();
        Self {
            queue: Arc::default(),
            waker,
            found,
            sender,
        }
    }

    /// Starts a lookup, whose result wakes the loop.
    pub(crate) fn start(&self, id: ConnectionId, host: String, port: u16) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(Job { id, host, port });
        if queue.threads >= MAX_THREADS {
            return Ok(());
        }
        let (shared, waker) = (Arc::clone(&self.queue), Arc::clone(&self.waker));
        let sender = self.sender.clone();
        let thread = thread::Builder::new().name("wspulse-lookup".into());
        match thread.spawn(move || work(&shared, &sender, &waker)) {
            Ok(_) => queue.threads += 1,
            // Whoever works already takes this one along.
            Err(_) if queue.threads > 0 => {}
            Err(error) => {
                queue.jobs.pop_back();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Forgets a lookup that nobody waits for any more, if it has not begun.
    pub(crate) fn cancel(&self, id: ConnectionId) {
        lock(&self.queue).jobs.retain(|job| job.id != id);
    }

    pub(crate) fn poll(&self) -> Option<Found> {
        self.found.try_recv().ok()
    }
}

/// Takes jobs until there are none.
fn work(queue: &Mutex<Queue>, sender: &Sender<Found>, waker: &Waker) {
    loop {
        let job = {
            let mut queue = lock(queue);
            let Some(job) = queue.jobs.pop_front() else {
                queue.threads -= 1;
                return;
            };
            job
        };
        let found = (&*job.host, job.port).to_socket_addrs();
        // A loop that is gone needs no addresses.
        let _ = sender.send((job.id, found.map(Iterator::collect)));
        let _ = waker.wake();
    }
}

fn lock(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_THREADS: usize = 4;
