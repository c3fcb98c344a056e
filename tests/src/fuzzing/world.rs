//! A connection of either role beside the truth about its peer, its path and its host.
//!
//! The bytes say which role, policies and timers there are, and then, one byte a tick, which of the
//! actions that are possible in the world happens: what the peer says, whether the host is away
//! and with or without its network, which call comes first, how much the transport takes, which
//! events wait. The oracles are those of the search in [`world::connection`](crate::world::connection),
//! over more configurations and for longer, and the connection's heap stays within its budget after
//! each call.

use wspulse_core::Role;

use super::Reader;
use crate::world::connection::peer::Say;
use crate::world::connection::{Action, Budget, Call, Setup, TextHeartbeat};
use crate::world::oracle::Policy;
use crate::world::search::{Step, Trace, World, timeline};

/// More ticks tell nothing new.
const MAX_TICKS: u32 = 200;

/// Runs a connection through what the bytes say.
pub fn world(data: &[u8]) {
    let mut reader = Reader::new(data);
    let setup = setup(&mut reader);
    let mut state = setup.start_counting();
    let mut trace = Trace::default();
    let mut actions = Vec::new();
    let mut path: Vec<Action> = Vec::new();
    for now in 1..MAX_TICKS {
        if reader.is_empty() {
            return;
        }
        actions.clear();
        setup.actions(&state, now, &mut actions);
        // The first action is that nothing happens, and is what most ticks should be.
        let choice = usize::from(reader.byte());
        let action = actions[choice.saturating_sub(128) % actions.len()];
        path.push(action);
        match setup.step(&mut state, now, action, &mut trace) {
            Ok(Step::Continues) => {}
            Ok(Step::Ended(_)) => return,
            Err(violation) => panic!("{violation}\n{setup:?}\n{}", timeline(&setup, &path)),
        }
    }
}

/// What the first bytes say.
fn setup(reader: &mut Reader<'_>) -> Setup {
    let switches = reader.byte();
    let is = |bit: u8| switches & 1 << bit != 0;
    let role = if is(0) { Role::Client } else { Role::Server };
    let policies = vec![policy(reader), policy(reader), policy(reader)];
    let mut setup = Setup {
        opens: is(1),
        calls: vec![
            Call::Send,
            Call::SendLong,
            Call::SendPart,
            Call::SendLast,
            Call::Close,
            Call::Set(0),
            Call::Set(1),
            Call::Set(2),
            Call::Resumed,
        ],
        says: vec![
            Say::Message,
            Say::Half,
            Say::Rest,
            Say::Ping,
            Say::TextPing,
            Say::Close,
            Say::Bad,
            Say::Head,
            Say::HalfHead,
            Say::Eof,
            Say::Reset,
            Say::Die,
        ],
        budget: Budget {
            pauses: u8::MAX,
            away: u8::MAX,
            says: u8::MAX,
            calls: u8::MAX,
            shorts: u8::MAX,
            misses: u8::MAX,
            holds: u8::MAX,
        },
        ..Setup::open("fuzzed", role, policies[0])
    };
    // Only a heartbeat that pings can ask, and it must go on to.
    setup.text_heartbeat = match (is(2), is(3)) {
        (true, true) if policies.iter().all(Policy::pings) => Some(TextHeartbeat::Asks),
        (true, false) => Some(TextHeartbeat::Answers),
        _ => None,
    };
    if setup.text_heartbeat != Some(TextHeartbeat::Answers) {
        setup.says.retain(|say| *say != Say::TextPing);
    }
    setup.policies = policies;
    let clocks = [reader.byte(), reader.byte()];
    let ticks = |half: u8| u32::from(half % 8) + 2;
    setup.lengths.opening = ticks(clocks[0]);
    setup.lengths.closing = ticks(clocks[0] >> 4);
    // Without a linger, the documented order of calls gives the Close no time (rule 11).
    setup.lengths.linger = 1 + u32::from(clocks[0] >> 7);
    setup.lengths.message = is(4).then(|| ticks(clocks[1]));
    setup.lengths.idle = is(5).then(|| ticks(clocks[1] >> 3) + 4);
    setup.lengths.age = is(6).then(|| 20 * ticks(clocks[1] >> 5));
    setup
}

fn policy(reader: &mut Reader<'_>) -> Policy {
    let spans = reader.byte();
    let (interval, timeout) = (u32::from(spans % 8) + 1, u32::from(spans >> 3 & 7) + 2);
    let policy = match spans >> 6 {
        0 | 1 => Policy::idle(interval, timeout),
        2 => Policy::periodic(interval, timeout),
        _ if interval % 2 == 0 => Policy::passive(timeout),
        _ => Policy::off(timeout),
    };
    policy.write_stall(timeout + interval)
}
