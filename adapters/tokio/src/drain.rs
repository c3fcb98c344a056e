//! An orderly end for all connections of a server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use wspulse_core::{CloseCode, CloseEncodeError, CloseFrame, Closed};

use crate::websocket::WebSocket;

/// Ends the connections of a server in order: a Close frame to each of them, spread over a time
/// so that their clients do not all come back at once, then a wait, then a report.
///
/// Each connection is [guarded](Self::guard) once it is open; its loop needs nothing more, since
/// its messages come to their end as after any other close. A connection that was split, or that
/// [has a task of its own](WebSocket::spawn), is guarded all the same. Clones are of one drain.
///
/// ```
/// use std::time::Duration;
///
/// use tokio::net::TcpListener;
/// use wspulse_core::Config;
/// use wspulse_tokio::{Drain, Error, accept};
///
/// async fn serve(listener: TcpListener, stop: impl Future) -> std::io::Result<()> {
///     let drain = Drain::new();
///     let mut stop = std::pin::pin!(stop);
///     loop {
///         let (stream, peer) = tokio::select! {
///             accepted = listener.accept() => accepted?,
///             _ = &mut stop => break,
///         };
///         let drain = drain.clone();
///         tokio::spawn(async move {
///             let mut ws = accept(stream, Config::default()).await?;
///             drain.guard(&mut ws, peer);
///             while let Some(message) = ws.next().await {
///                 ws.feed(message?).await?;
///             }
///             Ok::<(), Error>(())
///         });
///     }
///     drop(listener);
///     let report = drain.shutdown(Duration::from_secs(2), Duration::from_secs(10)).await;
///     println!("{report}");
///     for late in report.cut() {
///         println!("cut: {}", late.label);
///     }
///     Ok(())
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// #     serve(TcpListener::bind("127.0.0.1:0").await?, async {}).await
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Drain {
    inner: Arc<Inner>,
}

struct Inner {
    code: CloseCode,
    reason: String,
    state: Mutex<State>,
    has_begun: watch::Sender<bool>,
    /// How many connections there are.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    entries: BTreeMap<u64, Entry>,
    is_draining: bool,
    ended: Vec<Drained>,
}

/// What a guarded connection is told.
struct Entry {
    label: String,
    shared: Arc<Orders>,
}

struct Orders {
    /// Looked at by each call of the connection, without the lock.
    is_waiting: AtomicBool,
    inner: Mutex<OrderAndWaker>,
}

struct OrderAndWaker {
    order: Option<Order>,
    waker: Option<Waker>,
}

impl Orders {
    fn new(order: Option<Order>) -> Self {
        Self {
            is_waiting: AtomicBool::new(order.is_some()),
            inner: Mutex::new(OrderAndWaker { order, waker: None }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OrderAndWaker> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a guarded connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Begin the closing handshake.
    Close,
    /// End at once.
    Cut,
}

/// What became of the connections there were when a [`Drain`] began, in the order of their ends.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// One for each of them.
    pub connections: Vec<Drained>,
}

/// A connection that was drained.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drained {
    /// The number from [`Drain::guard`].
    pub id: u64,
    /// The name from [`Drain::guard`].
    pub label: String,
    /// What became of it.
    pub outcome: DrainOutcome,
}

/// How a connection that was drained ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum DrainOutcome {
    /// It came to its end, in order if [`Closed::clean`].
    Closed(Box<Closed>),
    /// The application dropped it before its end.
    Dropped,
    /// It was still there at the deadline.
    Cut,
}

impl Drain {
    /// Prepares an end with code 1001, "going away" (RFC 6455 §7.4.1).
    #[must_use]
    pub fn new() -> Self {
        Self::build(CloseCode::GOING_AWAY, String::new())
    }

    /// Prepares an end with this code and reason, such as 1012 for a restart.
    ///
    /// # Errors
    ///
    /// If the code must not be sent, or the reason is above 123 bytes.
    pub fn with_close(code: CloseCode, reason: &str) -> Result<Self, CloseEncodeError> {
        CloseFrame::encode(code, reason, &mut [0; CloseFrame::MAX_PAYLOAD])?;
        Ok(Self::build(code, reason.to_owned()))
    }

    fn build(code: CloseCode, reason: String) -> Self {
        Self {
            inner: Arc::new(Inner {
                code,
                reason,
                state: Mutex::default(),
                has_begun: watch::Sender::new(false),
                count: watch::Sender::new(0),
            }),
        }
    }

    /// Puts a connection under this drain, from now to its end. Returns the number under which
    /// the report has it, beside `label`: the peer's address, a user's name.
    ///
    /// Once the drain has begun, the connection is told to close at once. The orders of an
    /// earlier drain that guarded it are forgotten.
    pub fn guard<S>(&self, ws: &mut WebSocket<S>, label: impl ToString) -> u64 {
        let mut state = self.inner.lock();
        let id = state.next_id;
        state.next_id += 1;
        let order = state.is_draining.then_some(Order::Close);
        let shared = Arc::new(Orders::new(order));
        let guard = Guard {
            id,
            inner: Arc::clone(&self.inner),
            shared: Arc::clone(&shared),
        };
        let label = label.to_string();
        state.entries.insert(id, Entry { label, shared });
        self.inner.count.send_replace(state.entries.len());
        drop(state);
        ws.set_guard(guard);
        id
    }

    /// Returns how many guarded connections there are.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.inner.count.borrow()
    }

    /// Tells whether [`shutdown`](Self::shutdown) was called.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.inner.has_begun.borrow()
    }

    /// Waits until [`shutdown`](Self::shutdown) is called: for tasks that accept, or have other
    /// things to end.
    pub async fn begun(&self) {
        let mut has_begun = self.inner.has_begun.subscribe();
        // The sender lives in `self`.
        let _ = has_begun.wait_for(|has_begun| *has_begun).await;
    }

    /// Closes all guarded connections: tells one after the other, evenly over `spread`, and waits
    /// for their ends, until `deadline` after the call. What is still there then is cut: ended
    /// without further words.
    ///
    /// A connection obeys when its task polls it. One that nobody polls is cut in the report, and
    /// in truth when it is polled or dropped next; a [spawned](WebSocket::spawn) one is always
    /// polled. Each takes at most its configuration's `close_timeout`, so a `deadline` of `spread`
    /// and that much more cuts only those that nobody polls.
    ///
    /// Stop accepting first. What is guarded later is closed at once, and waited for as long as
    /// others are.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, no further connection is told; a second call goes on with those that are
    /// left, and reports all.
    pub async fn shutdown(&self, spread: Duration, deadline: Duration) -> DrainReport {
        let start = Instant::now();
        let end = start.checked_add(deadline);
        let ids: Vec<u64> = {
            let mut state = self.inner.lock();
            state.is_draining = true;
            state.entries.keys().copied().collect()
        };
        self.inner.has_begun.send_replace(true);

        let mut count = self.inner.count.subscribe();
        let close_all = async {
            let step = spread / u32::try_from(ids.len()).unwrap_or(u32::MAX).max(1);
            let mut next = Some(start);
            for id in ids {
                // Those that ended by themselves take no time.
                if self.inner.order(id, Order::Close) {
                    next = next.and_then(|at| at.checked_add(step));
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                }
            }
            std::future::pending::<()>().await;
        };
        let all_gone = async {
            let _ = count.wait_for(|count| *count == 0).await;
        };
        let work = first(all_gone, close_all);
        match end {
            Some(end) => drop(timeout_at(end, work).await),
            None => work.await,
        }
        self.inner.finish()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a connection what to do; `false` if it is gone.
    fn order(&self, id: u64, order: Order) -> bool {
        let state = self.lock();
        let Some(entry) = state.entries.get(&id) else {
            return false;
        };
        let shared = Arc::clone(&entry.shared);
        drop(state);
        give(&shared, order);
        true
    }

    fn leave(&self, id: u64, outcome: DrainOutcome) {
        let mut state = self.lock();
        let Some(entry) = state.entries.remove(&id) else {
            return;
        };
        if state.is_draining {
            let label = entry.label;
            state.ended.push(Drained { id, label, outcome });
        }
        self.count.send_replace(state.entries.len());
    }

    /// Cuts what is left, and tells of all.
    fn finish(&self) -> DrainReport {
        let mut state = self.lock();
        let mut connections = std::mem::take(&mut state.ended);
        let left = std::mem::take(&mut state.entries);
        self.count.send_replace(0);
        drop(state);
        for (id, Entry { label, shared }) in left {
            give(&shared, Order::Cut);
            let outcome = DrainOutcome::Cut;
            connections.push(Drained { id, label, outcome });
        }
        DrainReport { connections }
    }
}

fn give(shared: &Orders, order: Order) {
    let mut orders = shared.lock();
    orders.order = Some(order);
    shared.is_waiting.store(true, Ordering::Release);
    let waker = orders.waker.take();
    drop(orders);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Waits until one of them is done.
async fn first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let mut one = std::pin::pin!(one);
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|cx| {
        let is_done = one.as_mut().poll(cx).is_ready() || other.as_mut().poll(cx).is_ready();
        if is_done {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// A connection's end of a [`Drain`].
pub(crate) struct Guard {
    id: u64,
    inner: Arc<Inner>,
    shared: Arc<Orders>,
}

impl Guard {
    /// Returns an order that was not taken yet; the next one wakes `cx`.
    pub(crate) fn poll_order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut orders = self.shared.lock();
        self.shared.is_waiting.store(false, Ordering::Release);
        match &mut orders.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        orders.order.take()
    }

    /// Tells whether an order was not taken yet.
    pub(crate) fn has_order(&self) -> bool {
        self.shared.is_waiting.load(Ordering::Acquire)
    }

    /// What to close with.
    pub(crate) fn close(&self) -> (CloseCode, &str) {
        (self.inner.code, &self.inner.reason)
    }

    /// The connection came to its end.
    pub(crate) fn end(self, closed: &Closed) {
        let closed = Box::new(closed.clone());
        self.inner.leave(self.id, DrainOutcome::Closed(closed));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Does nothing behind an end.
        self.inner.leave(self.id, DrainOutcome::Dropped);
    }
}

impl DrainReport {
    /// Goes through the connections that were still there at the deadline.
    pub fn cut(&self) -> impl Iterator<Item = &Drained> {
        self.connections
            .iter()
            .filter(|drained| matches!(drained.outcome, DrainOutcome::Cut))
    }

    /// Tells whether all connections closed in order.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        self.connections.iter().all(Drained::is_in_order)
    }
}

impl Drained {
    /// Tells whether Close frames went both ways (RFC 6455 §7.1.4).
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        matches!(&self.outcome, DrainOutcome::Closed(closed) if closed.clean)
    }
}

/// One line for a log.
impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.connections.len();
        let in_order = self.connections.iter().filter(|one| one.is_in_order());
        let (in_order, cut) = (in_order.count(), self.cut().count());
        let otherwise = all - in_order - cut;
        write!(
            f,
            "{all} connections: {in_order} closed in order, {otherwise} ended otherwise, \
             {cut} cut at the deadline"
        )
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("count", &self.count())
            .field("has_begun", &self.has_begun())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("id", &self.id).finish()
    }
}
