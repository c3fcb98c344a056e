//! What scripts are made of: configurations, frames, messages and requests.

use std::time::Duration;

use wspulse_core::frame::mask;
use wspulse_core::heartbeat::{Evidence, HeartbeatConfig, Mode};
use wspulse_core::{ApplicationHeartbeat, Config, Delivery, Role};

use super::script;

/// The configuration that the switches of a script say.
pub(super) fn config_of(setup: u16) -> Config {
    let is = |switch| setup & switch != 0;
    let mut config = Config::builder()
        .heartbeat(heartbeat(heartbeat_of(setup)))
        .report_control(is(script::REPORT_CONTROL));
    if is(script::PARTS) {
        config = config.delivery(Delivery::Parts);
    }
    if is(script::SMALL_LIMITS) {
        config = config
            .max_frame_size(1_000)
            .max_message_size(1_500)
            .max_fragment_count(4)
            .max_buffered_amount(2_000)
            .max_outgoing_frame(Some(100))
            .max_head_size(300)
            .max_header_count(6);
    }
    if is(script::NO_SPLIT) {
        config = config.max_outgoing_frame(None);
    }
    if is(script::TIMERS) {
        config = config
            .idle_timeout(Duration::from_millis(700))
            .max_age(Duration::from_secs(5));
    }
    if is(script::MESSAGE_TIMEOUT) {
        config = config.message_timeout(Duration::from_millis(400));
    }
    if is(script::NO_LINGER) {
        config = config.linger(Duration::ZERO);
    }
    if asks_text_ping(setup) {
        config = config.application_heartbeat(ApplicationHeartbeat::ask("ping", "pong"));
    } else if is(script::ANSWER_TEXT_PING) {
        config = config.application_heartbeat(ApplicationHeartbeat::answer("ping", "pong"));
    }
    config.build().expect("a legal configuration")
}

/// Which heartbeat the switches of a script say.
pub(super) fn heartbeat_of(setup: u16) -> u8 {
    let which = u8::try_from((setup & script::HEARTBEAT) >> script::HEARTBEAT_SHIFT);
    which.expect("three bits")
}

/// Whether [`heartbeat`] `which` takes any byte for a sign of life.
pub(super) const fn any_byte_counts(which: u8) -> bool {
    !matches!(which, 4 | 5)
}

/// Only a heartbeat that pings can ask.
pub(super) fn asks_text_ping(setup: u16) -> bool {
    let which = (setup & script::HEARTBEAT) >> script::HEARTBEAT_SHIFT;
    setup & script::ASK_TEXT_PING != 0 && !matches!(which, 2 | 3)
}

/// Heartbeats of every mode and kind of evidence; from eight on, ones that cannot work.
pub(super) fn heartbeat(which: u8) -> HeartbeatConfig {
    let millis = Duration::from_millis;
    match which {
        0 => HeartbeatConfig::DEFAULT,
        1 => HeartbeatConfig::ping(millis(100), millis(200)).jitter_percent(0),
        2 => HeartbeatConfig::passive(millis(300)),
        3 => HeartbeatConfig::off().write_stall_timeout(millis(50)),
        4 => HeartbeatConfig::ping(millis(1_000), millis(300)).evidence(Evidence::AnyFrame),
        5 => HeartbeatConfig::ping(millis(300), millis(1_000)).evidence(Evidence::MatchingPong),
        6 => HeartbeatConfig::ping(millis(200), millis(200)).mode(Mode::Periodic),
        7 => HeartbeatConfig::ping(Duration::MAX, Duration::MAX).write_stall_timeout(millis(50)),
        8 => HeartbeatConfig::ping(Duration::ZERO, millis(1)),
        _ => HeartbeatConfig::passive(millis(1)).evidence(Evidence::MatchingPong),
    }
}

/// A frame as this role sends it.
pub(super) fn frame_from(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(role, first, payload.len() as u64);
    let body = frame.len();
    frame.extend_from_slice(payload);
    if role == Role::Client {
        mask::apply(&mut frame[body..], MASK);
    }
    frame
}

pub(super) fn header(role: Role, first: u8, length: u64) -> Vec<u8> {
    let mask = match role {
        Role::Client => 0x80,
        Role::Server => 0,
    };
    let mut header = vec![first];
    match length {
        0..=125 => header.push(mask | length as u8),
        126..=0xFFFF => {
            header.push(mask | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend(length.to_be_bytes());
        }
    }
    if role == Role::Client {
        header.extend(MASK);
    }
    header
}

/// Text with characters of one to four bytes.
pub(super) fn text(length: u16) -> String {
    const UNIT: &str = "aß水🌊";
    let length = usize::from(length);
    let mut text = UNIT.repeat(length / UNIT.len() + 1);
    let end = (0..=length).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}

pub(super) fn binary(length: u16) -> Vec<u8> {
    let unit: Vec<u8> = (0..=u8::MAX).collect();
    let mut bytes = unit.repeat(usize::from(length) / unit.len() + 1);
    bytes.truncate(length.into());
    bytes
}

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub(super) const REQUESTS: [&[u8]; 4] = [
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Protocol: chat, superchat\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
];

/// Answers to the request of a client that offers the subprotocol "chat"; `{accept}` stands for the
/// proof that the server read the request.
pub(super) const RESPONSES: [&str; 8] = [
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
     Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: superchat\r\n\r\n",
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy",
    "HTTP/1.1 302 Found\r\nLocation: wss://example.org/\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
];
