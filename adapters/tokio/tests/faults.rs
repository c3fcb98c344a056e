//! Streams that fail at each of their calls in turn: nothing spins, no byte is lost or repeated.

mod common;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use common::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use wspulse_core::{Cause, Config};
use wspulse_tokio::{Error, WebSocket};

/// A stream whose input is all there, and whose output is kept.
#[derive(Default)]
struct Canned {
    input: Vec<u8>,
    plan: Plan,
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    taken: usize,
    output: Vec<u8>,
    calls: [usize; 4],
}

impl Record {
    fn calls(&self) -> usize {
        self.calls.iter().sum()
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// One call and what it does.
    fault: Option<(Op, usize, Fault)>,
    /// After how many bytes each direction fails, and how.
    read_end: Option<(usize, io::ErrorKind)>,
    write_end: Option<(usize, io::ErrorKind)>,
    vectored: bool,
    /// Whether input has no end but only stops.
    stays_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Read,
    Write,
    Flush,
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Moves one byte.
    OneByte,
    /// Is not ready, and wakes the task at once.
    WouldBlock,
    Interrupted,
    /// Fails, then and whenever it is called again.
    Fail(io::ErrorKind),
    /// Moves nothing and calls it a success.
    Zero,
    /// Claims that more was written than was lent.
    Lie,
}

impl Canned {
    /// What is to go wrong with this call.
    fn fault(&self, op: Op, cx: &Context<'_>) -> Poll<io::Result<Option<Fault>>> {
        let mut record = self.record.lock().unwrap();
        let call = record.calls[op as usize];
        record.calls[op as usize] += 1;
        assert!(record.calls() < 10_000, "it spins: {:?}", self.plan);
        let fault = self.plan.fault.filter(|(at_op, at, fault)| {
            *at_op == op && (*at == call || *at < call && matches!(fault, Fault::Fail(_)))
        });
        match fault.map(|(_, _, fault)| fault) {
            Some(Fault::WouldBlock) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Fault::Interrupted) => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            Some(Fault::Fail(kind)) => Poll::Ready(Err(kind.into())),
            fault => Poll::Ready(Ok(fault)),
        }
    }
}

impl AsyncRead for Canned {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fault = std::task::ready!(self.fault(Op::Read, cx))?;
        let mut record = self.record.lock().unwrap();
        let mut rest = &self.input[record.taken..];
        if let Some((end, kind)) = self.plan.read_end {
            if record.taken >= end {
                return Poll::Ready(Err(kind.into()));
            }
            rest = &rest[..rest.len().min(end - record.taken)];
        }
        if rest.is_empty() && self.plan.stays_open {
            return Poll::Pending;
        }
        let count = match fault {
            Some(Fault::OneByte) => rest.len().min(1),
            Some(Fault::Zero) => 0,
            _ => rest.len().min(buffer.remaining()),
        };
        buffer.put_slice(&rest[..count]);
        record.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let fault = std::task::ready!(self.fault(Op::Write, cx))?;
        let mut record = self.record.lock().unwrap();
        let mut count = bytes.len();
        if let Some((end, kind)) = self.plan.write_end {
            if record.output.len() >= end {
                return Poll::Ready(Err(kind.into()));
            }
            count = count.min(end - record.output.len());
        }
        match fault {
            Some(Fault::OneByte) => count = count.min(1),
            Some(Fault::Zero) => count = 0,
            _ => {}
        }
        record.output.extend_from_slice(&bytes[..count]);
        let lie = if fault == Some(Fault::Lie) { 1_000 } else { 0 };
        Poll::Ready(Ok(count + lie))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let slices: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
        self.poll_write(cx, &slices.concat())
    }

    fn is_write_vectored(&self) -> bool {
        self.plan.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fault(Op::Flush, cx).map_ok(drop)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fault(Op::Shutdown, cx).map_ok(drop)
    }
}

/// How the server holds its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    Split,
    Spawned,
}

/// What an echo server made of a stream.
#[derive(Debug)]
struct Outcome {
    got: Vec<String>,
    end: Option<Error>,
    output: Vec<u8>,
    calls: usize,
    polls: usize,
}

const MESSAGES: [&str; 3] = ["one", "second", "number three"];

/// A request, three messages and a Close frame.
fn input() -> Vec<u8> {
    let mut input = REQUEST.to_vec();
    for message in MESSAGES {
        input.extend(frame(TEXT, message.as_bytes()));
    }
    input.extend(frame(CLOSE, &1_000_u16.to_be_bytes()));
    input
}

/// Runs an echo server over `input()` as `plan` says.
async fn run(plan: Plan, form: Form) -> Outcome {
    let canned = Canned {
        input: input(),
        plan,
        ..Canned::default()
    };
    let record = Arc::clone(&canned.record);
    let mut got = Vec::new();
    let mut polls = 0;
    let serve = async {
        let ws = wspulse_tokio::accept(canned, Config::default()).await?;
        serve(ws, form, &mut got).await
    };
    let mut serve = Box::pin(serve);
    let counted = std::future::poll_fn(|cx| {
        polls += 1;
        serve.as_mut().poll(cx)
    });
    let end = timeout(secs(120), counted).await;
    let end = end.unwrap_or_else(|_| panic!("it hangs: {plan:?} {form:?}"));
    drop(serve);
    let record = record.lock().unwrap();
    Outcome {
        got,
        end: end.err(),
        output: record.output.clone(),
        calls: record.calls(),
        polls,
    }
}

/// Answers while it can, and reads to the end all the same.
async fn serve(ws: WebSocket<Canned>, form: Form, got: &mut Vec<String>) -> Result<(), Error> {
    macro_rules! serve {
        ($reader:ident, $writer:ident) => {
            while let Some(message) = $reader.next().await {
                let message = message?;
                got.push(message.as_text().unwrap().to_owned());
                match $writer.send(message).await {
                    // What came before the end is still to be read, and the end with it.
                    Ok(()) | Err(Error::Send(_) | Error::Closed(_) | Error::Io(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
    }
    match form {
        Form::Whole => {
            let mut ws = ws;
            serve!(ws, ws);
        }
        Form::Split => {
            let (mut reader, mut writer) = ws.split();
            serve!(reader, writer);
        }
        Form::Spawned => {
            let (mut receiver, sender) = ws.spawn(2);
            serve!(receiver, sender);
        }
    }
    Ok(())
}

const FORMS: [Form; 3] = [Form::Whole, Form::Split, Form::Spawned];
const OPS: [Op; 4] = [Op::Read, Op::Write, Op::Flush, Op::Shutdown];

/// More calls than any of these needs by far: the plain run makes about a dozen.
const ENOUGH: usize = 60;

#[track_caller]
fn assert_no_spin(outcome: &Outcome, plan: Plan, form: Form) {
    let is_calm = outcome.calls <= ENOUGH && outcome.polls <= ENOUGH;
    assert!(is_calm, "{plan:?} {form:?}: {outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_once_changes_no_byte() {
    let plain = run(Plan::default(), Form::Whole).await;
    assert_eq!(plain.got, MESSAGES);
    assert!(plain.end.is_none(), "{plain:?}");
    let faults = [Fault::OneByte, Fault::WouldBlock, Fault::Interrupted];
    for form in FORMS {
        for op in OPS {
            for call in 0..12 {
                for fault in faults {
                    for vectored in [false, true] {
                        let fault = Some((op, call, fault));
                        let plan = Plan {
                            fault,
                            vectored,
                            ..Plan::default()
                        };
                        let outcome = run(plan, form).await;
                        assert_no_spin(&outcome, plan, form);
                        assert_eq!(outcome.got, MESSAGES, "{plan:?} {form:?}");
                        assert!(outcome.end.is_none(), "{plan:?} {form:?}: {outcome:?}");
                        // A task of its own, and a `send` that waits, read the peer's Close, which
                        // is answered at once (rule 16); no answer follows it.
                        let (said, close) = outcome.output.split_at(outcome.output.len() - 4);
                        assert_eq!(close, b"\x88\x02\x03\xE8", "{plan:?} {form:?}");
                        assert!(plain.output.starts_with(said), "{plan:?} {form:?}");
                        if form != Form::Spawned && !matches!(op, Op::Write | Op::Flush) {
                            assert!(outcome.output == plain.output, "{plan:?} {form:?}");
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_at_every_offset_of_the_input_comes_after_what_came_before_it() {
    let input = input();
    let mut ends = Vec::new();
    let mut end = REQUEST.len();
    for message in MESSAGES {
        end += 6 + message.len();
        ends.push(end);
    }
    for form in FORMS {
        for offset in 0..=input.len() {
            let plan = Plan {
                read_end: Some((offset, io::ErrorKind::ConnectionReset)),
                ..Plan::default()
            };
            let outcome = run(plan, form).await;
            assert_no_spin(&outcome, plan, form);
            let whole = ends.iter().filter(|end| **end <= offset).count();
            assert_eq!(outcome.got, MESSAGES[..whole], "{plan:?} {form:?}");
            match outcome.end {
                None => assert_eq!(offset, input.len(), "{form:?}"),
                Some(Error::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                }
                other => panic!("{plan:?} {form:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_every_offset_of_the_output_repeats_nothing_and_loses_no_input() {
    let plain = run(Plan::default(), Form::Whole).await;
    for form in FORMS {
        for offset in 0..plain.output.len() {
            let plan = Plan {
                write_end: Some((offset, io::ErrorKind::BrokenPipe)),
                ..Plan::default()
            };
            let outcome = run(plan, form).await;
            assert_no_spin(&outcome, plan, form);
            if form != Form::Spawned {
                assert!(outcome.output == plain.output[..offset], "{plan:?}");
            }
            // Over by its own words, or by the pipe.
            match outcome.end {
                Some(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
                None => assert!(form == Form::Spawned || outcome.got.len() == 3),
                // The peer had said that it goes, and the answer did not reach it.
                Some(Error::Closed(closed)) => assert!(closed.received.is_some(), "{plan:?}"),
                other => panic!("{plan:?} {form:?}: {other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_for_good_ends_the_connection_without_a_spin() {
    let kinds = [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Other,
    ];
    let faults = kinds.map(Fault::Fail).into_iter().chain([Fault::Zero]);
    for fault in faults {
        for form in FORMS {
            for op in OPS {
                for call in 0..12 {
                    let plan = Plan {
                        fault: Some((op, call, fault)),
                        ..Plan::default()
                    };
                    let outcome = run(plan, form).await;
                    assert_no_spin(&outcome, plan, form);
                    let is_prefix =
                        MESSAGES.starts_with(&outcome.got.iter().map(|m| &**m).collect::<Vec<_>>());
                    assert!(is_prefix, "{plan:?} {form:?}: {outcome:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_above_what_was_lent_is_taken_for_all_of_it() {
    let plain = run(Plan::default(), Form::Whole).await;
    for form in FORMS {
        for call in 0..4 {
            for vectored in [false, true] {
                let plan = Plan {
                    fault: Some((Op::Write, call, Fault::Lie)),
                    vectored,
                    ..Plan::default()
                };
                let outcome = run(plan, form).await;
                assert_no_spin(&outcome, plan, form);
                assert_eq!(outcome.got, MESSAGES);
                assert!(outcome.end.is_none(), "{outcome:?}");
                if form != Form::Spawned {
                    assert!(outcome.output == plain.output, "{plan:?}");
                }
            }
        }
    }
}

/// An hour without a peer: the stream is looked at a few times for each ping, and not more.
#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_is_not_polled() {
    for form in FORMS {
        let record = Arc::<Mutex<Record>>::default();
        let canned = Canned {
            input: REQUEST.to_vec(),
            plan: Plan {
                stays_open: true,
                ..Plan::default()
            },
            record: Arc::clone(&record),
        };
        let heartbeat = wspulse_core::heartbeat::HeartbeatConfig::ping(secs(60), secs(3_600));
        let config = Config::builder().heartbeat(heartbeat).build().unwrap();
        let ws = wspulse_tokio::accept(canned, config).await.unwrap();
        record.lock().unwrap().calls = [0; 4];
        let start = Instant::now();
        let end = serve(ws, form, &mut Vec::new()).await;
        let Err(Error::Closed(closed)) = end else {
            panic!("{end:?}");
        };
        assert!(matches!(closed.cause, Cause::Dead(_)));
        assert!(start.elapsed() > secs(3_600));
        let calls = record.lock().unwrap().calls();
        assert!(calls < 300, "{form:?}: {calls} calls");
    }
}
