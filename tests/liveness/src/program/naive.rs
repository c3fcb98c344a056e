//! A timer of the application's own: a ping each interval, and the peer is dead if the pong has
//! not come a timeout later, whatever else came and however long this process was away.

use std::task::Poll;
use std::thread;
use std::time::Instant;

use wspulse_core::Event;

use super::{End, Orders, std::open};
use crate::scenario::App;

pub(super) fn run(orders: &Orders) -> End {
    watch(orders).err().unwrap_or(End::Own("no end"))
}

fn watch(orders: &Orders) -> Result<(), End> {
    let mut ws = open(orders)?;
    let plan = orders.plan();
    let (interval, timeout) = orders.policy();
    let mut next_ping = Instant::now() + interval;
    let mut next_tick = Instant::now();
    let mut pause = plan.first();
    let mut dead_at = None;
    if let App::Sends(size) = plan.app {
        ws.send(vec![7; size])?;
    }
    loop {
        let now = Instant::now();
        if dead_at.is_some_and(|at| now >= at) {
            return Err(End::Own("Dead(PongTimeout)"));
        }
        if now >= next_ping {
            ws.ping(b"naive")?;
            next_ping = now + interval;
            dead_at.get_or_insert(now + timeout);
        }
        if pause.is_some_and(|at| now >= at) {
            pause = None;
            match plan.app {
                App::Away { to, .. } | App::Blocks { to, .. } => {
                    thread::sleep(plan.moment(to).saturating_duration_since(now));
                }
                App::Closes(_) => ws.close(wspulse_core::CloseCode::NORMAL, "")?,
                _ => {}
            }
            continue;
        }
        match plan.app {
            App::Ticks | App::TicksOnly if now >= next_tick => {
                next_tick = now + plan.pace();
                ws.send("tick")?;
            }
            App::Pushes(size) => ws.send(vec![7; size])?,
            _ => {}
        }
        let wait = plan.pace() / 2;
        let Poll::Ready(event) = ws.next_event_timeout(wait) else {
            continue;
        };
        match event {
            Some(Event::Pong(payload)) if payload == b"naive"[..] => dead_at = None,
            Some(Event::Closed(closed)) => {
                return Err(End::Error(wspulse_std::Error::Closed(closed)));
            }
            Some(Event::Text(text)) if text == "ask" => ws.send("answer")?,
            Some(_) => {}
            None => return Err(End::Clean),
        }
    }
}
