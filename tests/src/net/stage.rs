//! One adapter and one peer, on one connection.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use wspulse_core::Role;

use super::{
    End, Hall, Job, Log, Manner, Peer, PeerOptions, Recorder, Report, Subject, exempt_this_thread,
};

/// What happens on one connection.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The adapter.
    pub subject: &'static dyn Subject,
    /// The adapter's role; the peer has the other one.
    pub role: Role,
    /// What the adapter's application does, and for how long.
    pub job: Job,
    /// How the peer behaves.
    pub manner: Manner,
    /// The peer's SO_RCVBUF, if not the kernel's choice.
    pub receive_buffer: Option<usize>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the application saw.
    pub report: Report,
    /// What the peer saw.
    pub log: Log,
    /// When it began.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
}

impl Stage {
    /// Runs it to its end: that of the window, or that of the connection. The calling thread is
    /// the peer.
    ///
    /// # Errors
    ///
    /// If the adapter does not come to an end.
    pub fn play(&self) -> Result<Outcome, String> {
        exempt_this_thread();
        let began = Instant::now();
        let options = PeerOptions {
            tls: self.job.tls.clone(),
            receive_buffer: self.receive_buffer,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (told, report) = mpsc::channel();
        let limit = self.job.window + EXTRA;
        let peer = match self.role {
            Role::Client => {
                let listener = Peer::listen(&options).map_err(|error| error.to_string())?;
                let address = listener.local_addr().map_err(|error| error.to_string())?;
                let (subject, job) = (self.subject, self.job.clone());
                self.start(&stop, told, move || subject.connect(address, &job))?;
                Peer::accept(&listener, &options)
            }
            Role::Server => {
                let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
                let address = listener.local_addr().map_err(|error| error.to_string())?;
                let (subject, job) = (self.subject, self.job.clone());
                self.start(&stop, told, move || {
                    let hall = Hall::new(listener, 1);
                    subject.serve(&hall, &job);
                    let last = hall.take_reports().pop();
                    last.unwrap_or_else(|| Recorder::new().fail("no report"))
                })?;
                Peer::connect(address, &options)
            }
        };
        let log = match peer {
            Ok(mut peer) => {
                peer.play(&self.manner, began + limit, &stop);
                peer.log().clone()
            }
            // What the adapter says may tell more.
            Err(error) => failed_log(&error),
        };
        let left = (began + limit).saturating_duration_since(Instant::now());
        let report = report
            .recv_timeout(left)
            .map_err(|_| format!("the adapter did not end; the peer saw {log:?}"))?;
        Ok(Outcome {
            report,
            log,
            began,
            ended: Instant::now(),
        })
    }

    fn start(
        &self,
        stop: &Arc<AtomicBool>,
        told: mpsc::Sender<Report>,
        run: impl FnOnce() -> Report + Send + 'static,
    ) -> Result<(), String> {
        let stop = Arc::clone(stop);
        thread::Builder::new()
            .name(self.subject.name().to_owned())
            .spawn(move || {
                let report = run();
                stop.store(true, Ordering::Relaxed);
                let _ = told.send(report);
            })
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

impl Outcome {
    /// Says in one line what happened.
    #[must_use]
    pub fn summary(&self) -> String {
        let report = &self.report;
        let notes: Vec<_> = report
            .notes
            .iter()
            .map(|(at, note)| {
                let after = report.opened.map_or(Duration::ZERO, |opened| *at - opened);
                format!("{note:?} at {} ms", after.as_millis())
            })
            .collect();
        format!(
            "{} after {} ms; received {} messages, {} bytes, sent {}; {notes:?}; peer: {} pings, \
             {} pongs, {} messages, {} bytes in, {} bytes out, close {:?}, end {:?}, fault {:?}",
            report.end,
            report.open_for().as_millis(),
            report.messages,
            report.bytes,
            report.sent,
            self.log.pings.len(),
            self.log.pongs.len(),
            self.log.messages_in,
            self.log.bytes_in,
            self.log.bytes_out,
            self.log.close,
            self.log.end,
            self.log.fault,
        )
    }

    /// Checks that the adapter held on to its peer.
    ///
    /// # Errors
    ///
    /// Says what happened instead.
    pub fn is_alive(&self) -> Result<(), String> {
        match (&self.report.end, &self.log.fault) {
            (End::Alive(_), None) => Ok(()),
            _ => Err(format!("not alive: {}", self.summary())),
        }
    }
}

fn failed_log(error: &io::Error) -> Log {
    Log {
        end: Some(format!("no connection: {error}")),
        ..Log::default()
    }
}

/// How much longer than its window a run may take: handshakes, closing, a machine under load.
const EXTRA: Duration = Duration::from_secs(30);
