//! The worlds over a connection, each around one promise, and what is known to fail in them.

use wspulse_core::Role;

use super::peer::Say;
use super::{Budget, Call, Setup, TextHeartbeat};
use crate::world::oracle::Policy;

/// Every world.
#[must_use]
pub fn all() -> Vec<Setup> {
    let mut all = Vec::new();
    for role in [Role::Server, Role::Client] {
        all.extend([opening(role), closing(role), failing(role)]);
    }
    all.extend([
        stalling(),
        stalling_changing(),
        short_writes(),
        message(),
        idle(),
        age(),
        beside_heartbeat(),
        changing(),
        switching_off(),
        dying(),
        forgetting(),
        asking(),
        answering(),
    ]);
    all.extend((0..8).map(jitter));
    all
}

/// The opening handshake: whole, in pieces, late, or never; and our pauses.
fn opening(role: Role) -> Setup {
    let name = match role {
        Role::Server => "opening, server",
        Role::Client => "opening, client",
    };
    Setup {
        opens: true,
        says: vec![Say::HalfHead, Say::Head, Say::Eof],
        calls: vec![Call::Close],
        budget: Budget {
            pauses: 2,
            away: 5,
            says: 3,
            calls: 1,
            ..Budget::default()
        },
        depth: 13,
        ..Setup::open(name, role, Policy::off(2))
    }
}

/// The closing handshake: this end first, the peer first, both, or one of them never.
fn closing(role: Role) -> Setup {
    let name = match role {
        Role::Server => "closing, server",
        Role::Client => "closing, client",
    };
    Setup {
        says: vec![Say::Close, Say::Message, Say::Eof, Say::Die],
        calls: vec![Call::Close],
        budget: Budget {
            pauses: 1,
            away: 4,
            says: 2,
            calls: 1,
            shorts: 1,
            ..Budget::default()
        },
        depth: 9,
        ..Setup::open(name, role, Policy::off(4))
    }
}

/// A peer that breaks RFC 6455.
fn failing(role: Role) -> Setup {
    let name = match role {
        Role::Server => "failing, server",
        Role::Client => "failing, client",
    };
    Setup {
        says: vec![Say::Bad, Say::Ping, Say::Eof, Say::Reset, Say::Die],
        budget: Budget {
            pauses: 1,
            away: 2,
            says: 2,
            shorts: 1,
            ..Budget::default()
        },
        depth: 10,
        ..Setup::open(name, role, Policy::off(4))
    }
}

/// A transport that takes nothing, one byte, or the first chunk, while a heartbeat watches.
fn stalling() -> Setup {
    Setup {
        says: vec![Say::Die],
        calls: vec![Call::Send],
        budget: Budget {
            pauses: 1,
            away: 3,
            says: 1,
            calls: 1,
            shorts: 1,
            ..Budget::default()
        },
        depth: 12,
        ..Setup::open("stalling", Role::Server, Policy::idle(4, 4))
    }
}

/// `set_heartbeat` while the transport takes nothing, first after a pause or at any time.
fn stalling_changing() -> Setup {
    Setup {
        policies: vec![Policy::off(4).write_stall(6), Policy::off(4).write_stall(8)],
        calls: vec![Call::Send, Call::Set(1)],
        budget: Budget {
            pauses: 1,
            away: 7,
            calls: 2,
            shorts: 1,
            ..Budget::default()
        },
        depth: 11,
        ..Setup::open("stalling, changing", Role::Server, Policy::off(4))
    }
}

/// A transport that takes a part, where nothing but the stall has a deadline.
fn short_writes() -> Setup {
    Setup {
        calls: vec![Call::Send, Call::SendLong],
        budget: Budget {
            calls: 2,
            shorts: 2,
            ..Budget::default()
        },
        depth: 16,
        ..Setup::open("short writes", Role::Server, Policy::off(4))
    }
}

/// `message_timeout`.
fn message() -> Setup {
    let mut setup = Setup {
        says: vec![Say::Half, Say::Rest, Say::Ping],
        budget: Budget {
            pauses: 1,
            away: 4,
            says: 2,
            misses: 1,
            ..Budget::default()
        },
        depth: 13,
        ..Setup::open("message", Role::Server, Policy::off(4))
    };
    setup.lengths.message = Some(4);
    setup
}

/// `idle_timeout`, with events that wait.
fn idle() -> Setup {
    let mut setup = Setup {
        says: vec![Say::Message, Say::Ping],
        calls: vec![Call::Send],
        budget: Budget {
            pauses: 1,
            away: 2,
            says: 2,
            calls: 1,
            holds: 1,
            ..Budget::default()
        },
        depth: 11,
        ..Setup::open("idle", Role::Server, Policy::off(4))
    };
    setup.lengths.idle = Some(4);
    setup
}

/// `max_age`.
fn age() -> Setup {
    let mut setup = Setup {
        says: vec![Say::Message, Say::Close],
        budget: Budget {
            pauses: 1,
            away: 3,
            says: 1,
            ..Budget::default()
        },
        depth: 20,
        ..Setup::open("age", Role::Server, Policy::off(4))
    };
    setup.lengths.age = Some(12);
    setup
}

/// All clocks at once, on a host without pauses.
fn beside_heartbeat() -> Setup {
    let mut setup = Setup {
        says: vec![Say::Half, Say::Rest, Say::Message, Say::Die],
        calls: vec![Call::Send],
        budget: Budget {
            says: 3,
            calls: 1,
            ..Budget::default()
        },
        depth: 20,
        ..Setup::open("all clocks", Role::Server, Policy::idle(3, 4))
    };
    setup.lengths.idle = Some(12);
    setup.lengths.message = Some(5);
    setup
}

/// `set_heartbeat`, `handle_resumed` and everything else as the first call after a pause.
fn changing() -> Setup {
    Setup {
        policies: vec![Policy::idle(4, 4), Policy::idle(12, 4), Policy::idle(2, 2)],
        says: vec![Say::Message, Say::Die],
        calls: vec![Call::Set(1), Call::Set(2), Call::Resumed, Call::Send],
        budget: Budget {
            pauses: 1,
            away: 6,
            says: 1,
            calls: 1,
            ..Budget::default()
        },
        depth: 13,
        ..Setup::open("changing", Role::Server, Policy::idle(4, 4))
    }
}

/// `set_heartbeat(off())`, at any time.
fn switching_off() -> Setup {
    Setup {
        policies: vec![Policy::idle(4, 4), Policy::off(4)],
        says: vec![Say::Message, Say::Die],
        calls: vec![Call::Set(1), Call::Set(0)],
        budget: Budget {
            says: 2,
            calls: 2,
            ..Budget::default()
        },
        depth: 14,
        ..Setup::open("switching off", Role::Client, Policy::idle(4, 4))
    }
}

/// A peer that is dead, on a host that naps again and again.
fn dying() -> Setup {
    Setup {
        is_peer_dead: true,
        budget: Budget {
            pauses: 5,
            away: 10,
            ..Budget::default()
        },
        depth: 22,
        ..Setup::open("dying", Role::Server, Policy::idle(3, 4))
    }
}

/// An adapter that may forget to say that a read found nothing.
fn forgetting() -> Setup {
    Setup {
        says: vec![Say::Die],
        budget: Budget {
            says: 1,
            misses: 9,
            ..Budget::default()
        },
        depth: 24,
        ..Setup::open("forgetting", Role::Server, Policy::idle(3, 4))
    }
}

/// A heartbeat of text messages that this end sends.
fn asking() -> Setup {
    Setup {
        text_heartbeat: Some(TextHeartbeat::Asks),
        says: vec![Say::Die],
        calls: vec![Call::SendPart, Call::SendLast],
        budget: Budget {
            says: 1,
            calls: 2,
            ..Budget::default()
        },
        depth: 14,
        ..Setup::open("asking", Role::Server, Policy::idle(4, 4))
    }
}

/// A heartbeat of text messages that this end answers.
fn answering() -> Setup {
    Setup {
        text_heartbeat: Some(TextHeartbeat::Answers),
        says: vec![Say::TextPing],
        calls: vec![Call::SendPart, Call::SendLast],
        budget: Budget {
            says: 2,
            calls: 2,
            ..Budget::default()
        },
        depth: 9,
        ..Setup::open("answering", Role::Server, Policy::idle(4, 4))
    }
}

/// Jitter, from one of several seeds.
fn jitter(seed: u8) -> Setup {
    let mut setup = Setup {
        jitter: Some(seed),
        depth: 100,
        ..Setup::open("jitter", Role::Server, Policy::idle(20, 4))
    };
    setup.lengths.age = Some(90);
    setup
}
