//! Engines on the same work without sockets: a server that echoes, and the field's
//! 100,000 x "Hello, World!".
//!
//! `in_memory [--results FILE] [--rounds N] [--case TEXT]` measures, the cases whose name holds
//! TEXT. Times are nanoseconds of the
//! thread's own time a message: medians over rounds in which everybody has a turn.

use std::cell::RefCell;
use std::io;
use std::iter;
use std::rc::Rc;

use wspulse_bench::memory::case::{Case, Kind};

use wspulse_bench::memory::stream::{End, Pipe};
use wspulse_bench::memory::timing;
use wspulse_bench::memory::{
    Copies, Fastwebsockets, FastwebsocketsPair, Flush, HELLO, Pair, Sockudo, SockudoPair,
    SockudoProtocol, TokioWebsockets, TokioWebsocketsPair, Tungstenite, TungstenitePair, Wspulse,
    WspulsePair,
};
use wspulse_bench::stats::{Contestant, Results, Samples, cpu_time, option_value, pin_to, rounds};
use wspulse_bench::table::{Table, figure};

/// How many messages the field sends.
const FIELD: usize = 100_000;

fn main() -> io::Result<()> {
    pin_to(1)?;
    timing::settle_allocator();
    let count = option_value("--rounds").map_or(25, |text| text.parse().expect("a number"));
    let wanted = option_value("--case").unwrap_or_default();
    let mut results = Results::from_args("in_memory")?;
    let is_wanted = |name: &str| name.contains(&wanted);

    let mut table = None;
    for case in cases() {
        if !is_wanted(&case.to_string()) {
            continue;
        }
        let samples = echo(&case, count);
        for samples in &samples {
            results.record(&format!("echo {case}"), "ns/message", samples)?;
        }
        add_row(&mut table, case.to_string(), &samples);
    }
    print_table("Echo of a server, ns a message", table);

    let mut table = None;
    for (name, burst, flush) in PACES {
        if !is_wanted(name) {
            continue;
        }
        for (column, samples) in hello(burst, flush, count) {
            let case = format!("hello {name}, {column}");
            for samples in &samples {
                results.record(&case, "ns/message", samples)?;
            }
            add_row(&mut table, format!("{name}: {column}"), &samples);
        }
    }
    print_table("100,000 x \"Hello, World!\", ns a message", table);
    Ok(())
}

fn cases() -> impl Iterator<Item = Case> {
    const KIB: usize = 1 << 10;
    let sizes = [16, 125, KIB, 16 * KIB, 256 * KIB, 1024 * KIB];
    let plain = [Kind::Binary, Kind::Text]
        .into_iter()
        .flat_map(move |kind| sizes.map(|size| Case::new(kind, size)));
    let mixed = [16 * KIB, 1024 * KIB].map(|size| Case::new(Kind::MixedText, size));
    plain.chain(mixed)
}

/// How the hundred thousand go: a name, how many at once, and when they are written.
///
/// The field sends all, echoes all, receives all, and writes each on its own.
const PACES: [(&str, usize, Flush); 3] = [
    ("all, each written", FIELD, Flush::Each),
    ("by the hundred", 100, Flush::Together),
    ("one by one", 1, Flush::Each),
];

/// Times the echo; ours is the first, the mark the last.
fn echo(case: &Case, count: usize) -> Vec<Samples> {
    let mut copies = Copies::new(case);
    let mut contestants = vec![
        timing::server::<Wspulse>(case),
        timing::server::<Tungstenite>(case),
        timing::server::<Fastwebsockets>(case),
        timing::server::<TokioWebsockets>(case),
        timing::server::<Sockudo>(case),
        timing::server::<SockudoProtocol>(case),
        timing::work(Copies::NAME, case.messages, move || copies.pass(case)),
    ];
    rounds(count, &mut contestants)
}

/// Nanoseconds a message to send, to echo and to receive, and their sum.
type Parts = [f64; 4];

const COLUMNS: [&str; 4] = ["send", "echo", "recv", "total"];

/// Times the pairs; ours is the first.
fn hello(burst: usize, flush: Flush, count: usize) -> Vec<(&'static str, Vec<Samples>)> {
    let pairs = [
        pair::<WspulsePair>(burst, flush),
        pair::<TungstenitePair>(burst, flush),
        pair::<FastwebsocketsPair>(burst, flush),
        pair::<TokioWebsocketsPair>(burst, flush),
        pair::<SockudoPair>(burst, flush),
    ];
    let (mut contestants, parts): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let totals = rounds(count, &mut contestants);
    let column = |index: usize| {
        let rows = totals.iter().zip(&parts);
        rows.map(|(total, parts)| {
            // The first turn does not count.
            let parts = parts.borrow();
            let values = parts[1..].iter().map(|parts| parts[index]);
            Samples::new(&total.name, values.collect())
        })
        .collect()
    };
    // The clock costs too much to be read within a burst.
    let first = if burst == FIELD { 0 } else { COLUMNS.len() - 1 };
    let columns = COLUMNS.iter().enumerate().skip(first);
    columns
        .map(|(index, &name)| (name, column(index)))
        .collect()
}

/// A client and a server that pass on the text unharmed, and what their turns came to.
fn pair<P: Pair + 'static>(
    burst: usize,
    flush: Flush,
) -> (Contestant<'static>, Rc<RefCell<Vec<Parts>>>) {
    let [up, down] = [Rc::new(Pipe::default()), Rc::new(Pipe::default())];
    let mut pair = P::new(End::new(&down, &up), End::new(&up, &down));
    pair.send(3, flush);
    pair.echo(3, flush);
    let mut seen = Vec::new();
    pair.receive(3, |payload| seen.push(payload.to_vec()));
    assert!(
        seen == [HELLO.as_bytes(); 3],
        "{} received {seen:?}",
        P::NAME
    );

    let kept = Rc::new(RefCell::new(Vec::new()));
    let parts = Rc::clone(&kept);
    let run = move || {
        let turn = take_turn(&mut pair, burst, flush);
        kept.borrow_mut().push(turn);
        turn[3]
    };
    (Contestant::new(P::NAME, run), parts)
}

fn take_turn(pair: &mut impl Pair, burst: usize, flush: Flush) -> Parts {
    let mut bytes = 0;
    let start = cpu_time();
    let (mut sent, mut echoed) = (start, start);
    for _ in 0..FIELD / burst {
        pair.send(burst, flush);
        if burst == FIELD {
            sent = cpu_time();
        }
        pair.echo(burst, flush);
        if burst == FIELD {
            echoed = cpu_time();
        }
        pair.receive(burst, |payload| bytes += payload.len());
    }
    let end = cpu_time();
    assert_eq!(bytes, FIELD * HELLO.len());
    [sent - start, echoed - sent, end - echoed, end - start]
        .map(|part| part.as_nanos() as f64 / FIELD as f64)
}

/// Adds a row: everybody's median, and ours as a multiple of the best peer's.
fn add_row(table: &mut Option<Table>, name: String, samples: &[Samples]) {
    let table = table.get_or_insert_with(|| {
        let names = samples.iter().map(|samples| samples.name.as_str());
        Table::new(iter::once("").chain(names).chain(["to the best", "spread"]))
    });
    let (ours, others) = samples.split_first().expect("ours is the first");
    let peers = others.iter().filter(|peer| peer.name != Copies::NAME);
    let best = peers.min_by(|a, b| a.median().total_cmp(&b.median()));
    let ratio = best.map_or(f64::NAN, |best| ours.ratio_to(best));
    let medians = samples.iter().map(|samples| figure(samples.median()));
    let last = [
        format!("{ratio:.2}"),
        format!("{:.0} %", ours.spread() * 100.0),
    ];
    table.row(iter::once(name).chain(medians).chain(last));
}

fn print_table(title: &str, table: Option<Table>) {
    if let Some(table) = table {
        println!("{title}\n\n{table}");
    }
}
