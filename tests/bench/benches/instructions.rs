//! How many instructions wspulse's core takes, counted by valgrind.
//!
//! `instructions.sh` runs this and compares with the counts in `instructions.json`. What stands
//! behind the `x` of a name is how often the work is done; everything is warm when the count
//! begins.

use std::rc::Rc;

use gungraun::prelude::*;
use wspulse_bench::memory::case::{Case, Kind};
use wspulse_bench::memory::stream::{Counter, End, Pipe, Replay};
use wspulse_bench::memory::{Flush, Heartbeats, Pair, Server, Wspulse, WspulsePair};

/// A server and its input.
struct Echo {
    server: Wspulse,
    input: Rc<Replay>,
}

impl Echo {
    fn pass(&mut self) {
        loop {
            let is_last = self.input.arrive();
            self.server.turn();
            if is_last {
                return;
            }
        }
    }
}

fn warm(kind: Kind, size: usize, messages: usize, fragments: usize) -> Echo {
    let case = Case::fragmented(kind, size, messages, fragments);
    let input = Rc::new(Replay::new(Rc::clone(&case.input)));
    let output = Rc::new(Counter::default());
    output.keep();
    let server = Wspulse::new(End::new(&input, &output), &case);
    let mut echo = Echo { server, input };
    echo.pass();
    case.check(&output.kept()).expect("an echo");
    echo
}

fn whole(kind: Kind, size: usize, messages: usize) -> Echo {
    warm(kind, size, messages, 1)
}

#[library_benchmark(setup = whole)]
#[bench::binary_16_x1000(Kind::Binary, 16, 1_000)]
#[bench::binary_125_x1000(Kind::Binary, 125, 1_000)]
#[bench::binary_1k_x200(Kind::Binary, 1 << 10, 200)]
#[bench::binary_16k_x16(Kind::Binary, 16 << 10, 16)]
#[bench::binary_256k_x2(Kind::Binary, 256 << 10, 2)]
#[bench::binary_1m_x1(Kind::Binary, 1 << 20, 1)]
#[bench::text_16_x1000(Kind::Text, 16, 1_000)]
#[bench::text_125_x1000(Kind::Text, 125, 1_000)]
#[bench::text_1k_x200(Kind::Text, 1 << 10, 200)]
#[bench::text_16k_x16(Kind::Text, 16 << 10, 16)]
#[bench::text_256k_x2(Kind::Text, 256 << 10, 2)]
#[bench::text_1m_x1(Kind::Text, 1 << 20, 1)]
#[bench::mixed_text_16k_x16(Kind::MixedText, 16 << 10, 16)]
fn echo(mut echo: Echo) -> Echo {
    echo.pass();
    echo
}

#[library_benchmark(setup = warm)]
#[bench::binary_of_16_x100(Kind::Binary, 1_024, 100, 16)]
#[bench::text_of_16_x100(Kind::Text, 1_024, 100, 16)]
fn fragments(mut echo: Echo) -> Echo {
    echo.pass();
    echo
}

fn pair() -> WspulsePair {
    let [up, down] = [Rc::new(Pipe::default()), Rc::new(Pipe::default())];
    let mut pair = WspulsePair::new(End::new(&down, &up), End::new(&up, &down));
    hello(&mut pair, Flush::Each);
    pair
}

fn hello(pair: &mut WspulsePair, flush: Flush) {
    let mut bytes = 0;
    pair.send(1_000, flush);
    pair.echo(1_000, flush);
    pair.receive(1_000, |payload| bytes += payload.len());
    assert_eq!(bytes, 13_000);
}

#[library_benchmark(setup = pair)]
#[bench::each_x1000()]
fn hello_each(mut pair: WspulsePair) -> WspulsePair {
    hello(&mut pair, Flush::Each);
    pair
}

#[library_benchmark(setup = pair)]
#[bench::together_x1000()]
fn hello_together(mut pair: WspulsePair) -> WspulsePair {
    hello(&mut pair, Flush::Together);
    pair
}

fn beating() -> Heartbeats {
    let [up, down] = [Rc::new(Pipe::default()), Rc::new(Pipe::default())];
    let mut pair = Heartbeats::new(End::new(&down, &up), End::new(&up, &down));
    (0..100).for_each(|_| pair.round());
    pair
}

#[library_benchmark(setup = beating)]
#[bench::ping_pong_x1000()]
fn heartbeat(mut pair: Heartbeats) -> Heartbeats {
    (0..1_000).for_each(|_| pair.round());
    pair
}

library_benchmark_group!(
    name = core,
    benchmarks = [echo, fragments, hello_each, hello_together, heartbeat]
);

main!(library_benchmark_groups = core);
