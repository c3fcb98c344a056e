//! A client's side of a connection to an echo server, without I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wspulse_core::{CloseCode, Event, Message};

use crate::books::{Books, Tally};
use crate::plan::{Plan, Step, whole};

/// Follows a plan, and compares what comes back with what was sent.
#[derive(Debug)]
pub(crate) struct Talk {
    books: Arc<Books>,
    plan: Plan,
    expected: VecDeque<Message>,
    expected_bytes: usize,
    pings: VecDeque<[u8; 8]>,
    is_settling: bool,
    end: Option<u16>,
    moved: Instant,
    pub(crate) tally: Tally,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send a message in these parts.
    Send(Vec<Message>),
    /// Send a ping.
    Ping([u8; 8]),
    /// Wait for so long, and take what comes meanwhile.
    Pause(Duration),
    /// Take what comes.
    Wait,
    /// Close.
    Close(CloseCode),
    /// Drop the connection.
    Abort,
}

impl Talk {
    pub(crate) fn new(books: &Arc<Books>, plan: Plan) -> Self {
        Self {
            books: Arc::clone(books),
            plan,
            expected: VecDeque::new(),
            expected_bytes: 0,
            pings: VecDeque::new(),
            is_settling: false,
            end: None,
            moved: Instant::now(),
            tally: Tally::default(),
        }
    }

    /// Goes on with another plan.
    pub(crate) fn follow(&mut self, plan: Plan) {
        self.plan = plan;
        self.end = None;
    }

    pub(crate) fn next(&mut self) -> Next {
        if self.books.is_over() && self.end.is_none() {
            self.end = Some(1000);
        }
        let is_settled = self.expected.is_empty();
        if let Some(code) = self.end
            && is_settled
        {
            return Next::Close(CloseCode::new(code));
        }
        self.is_settling &= !is_settled;
        if self.is_settling || self.end.is_some() || self.is_full() {
            return Next::Wait;
        }
        match self.plan.next() {
            Step::Send(parts) => {
                let message = whole(&parts);
                self.expected_bytes += message.len();
                self.expected.push_back(message);
                self.moved = Instant::now();
                Next::Send(parts)
            }
            Step::Ping(payload) => {
                self.pings.push_back(payload);
                Next::Ping(payload)
            }
            Step::Pause(pause) => Next::Pause(pause),
            Step::Settle => {
                self.is_settling = true;
                Next::Pause(Duration::ZERO)
            }
            Step::Close(code) => {
                self.end = Some(code);
                Next::Pause(Duration::ZERO)
            }
            Step::Abort => Next::Abort,
        }
    }

    /// Takes what came.
    ///
    /// # Errors
    ///
    /// If it is not what should come.
    pub(crate) fn hear(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Text(text) => self.message(&Message::from(text)),
            Event::Binary(data) => self.message(&Message::from(data)),
            Event::Pong(payload) => self.pong(&payload),
            _ => Ok(()),
        }
    }

    pub(crate) fn message(&mut self, message: &Message) -> Result<(), String> {
        let expected = self.expected.pop_front().ok_or("an echo of nothing")?;
        self.expected_bytes -= expected.len();
        self.moved = Instant::now();
        if *message != expected {
            return Err(format!(
                "{} bytes (text: {}) came back as {} bytes (text: {})",
                expected.len(),
                expected.as_text().is_some(),
                message.len(),
                message.as_text().is_some(),
            ));
        }
        self.tally.messages += 1;
        self.tally.bytes += message.len() as u64;
        Ok(())
    }

    /// One pong may answer several pings (RFC 6455 section 5.5.3).
    pub(crate) fn pong(&mut self, payload: &[u8]) -> Result<(), String> {
        while let Some(ping) = self.pings.pop_front() {
            self.tally.pongs += 1;
            if ping == payload {
                return Ok(());
            }
        }
        Err(format!("a pong for nothing: {payload:?}"))
    }

    /// # Errors
    ///
    /// If an echo is outstanding for too long.
    pub(crate) fn check_patience(&self) -> Result<(), String> {
        if self.expected.is_empty() || self.moved.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(format!(
            "{} messages are not echoed after {PATIENCE:?}",
            self.expected.len()
        ))
    }

    /// With little on its way, neither side's send has to wait for the other's.
    fn is_full(&self) -> bool {
        self.expected.len() >= 8 || self.expected_bytes >= 256 << 10
    }
}

/// How long an echo may take, on a machine that is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
