#!/usr/bin/env python3
"""reach.py RESULTS AIMS README MACHINE: from the lines of JSON in the folder RESULTS, writes between the
two marks in AIMS every aim and what came of it, and between those in README the five rows that stand
for all."""

import json
import pathlib
import sys

results, aims, readme, machine = sys.argv[1:]
figures = {}
for path in sorted(pathlib.Path(results).glob("*.jsonl")):
    for line in path.read_text().splitlines():
        one = json.loads(line)
        key = one["bench"], one["case"], one["unit"]
        figures.setdefault(key, {})[one["contestant"]] = one["median"]


def is_ours(name):
    return name.startswith("wspulse")


def is_limit(name):
    return name.startswith(("tcp-", "memcpy", "bare"))


def peers(row):
    return {name: value for name, value in row.items() if not is_ours(name) and not is_limit(name)}


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def told(unit, value):
    return f"{number(value)} {unit}".strip()


# What stands in the way, for rows that miss their aim.
WHY = {
    "small": "malloc and free are 157 of the some 420 instructions of a 16-byte echo in the plain loop "
    "(callgrind), for one exact allocation a message; the rest is spread thin: 30 for the output's room, 25 "
    "for the header, 25 for events, 19 for the heartbeat. With 1 KiB, a third of the time is the read's copy and "
    "the one into the output. Tried: the engine's questions asked once for a message in one frame (965 to 627 "
    "instructions by `instructions.sh`), input and events in one call, messages decoded one ahead, room for "
    "as much output as there was the last time (1 KiB: 95 to 80 ns in the loop alone).",
    "large": "Each byte is copied twice: into the thread's read buffer, and unmasked on its way into the message. "
    "The best peer unmasks in place in the buffer it reads into, which stays with the connection and keeps "
    "about the message: the rows on memory below exclude that. The profile has nothing but those two "
    "copies, and each goes at the pace of memcpy: 64 KiB in 1.15 us, where block by block it was 2.55. Tried, besides: "
    "buffers of long messages used again (1 MiB: 81 to 57 us), text checked with "
    "vectors and once, payloads sent without a copy, masks with vectors of 32 bytes, which "
    "needs `unsafe` (in a loop of nothing else a quarter less for 16 KiB, nothing for 64 KiB: left out).",
    "hello": "A message that is written alone is queued, committed, lent and reported, some 500 "
    "instructions beside those of the message; by the hundred, malloc and free are a third of what it takes to "
    "receive one. Tried: a short way for output of nothing but short messages (each written: 182 to 142 ns), ASCII "
    "told from other text by a look at whole words (75 instructions less).",
    "tcp": "In the kernel they cost what plain TCP costs: 198 ns a message beside 178 at 64 x 64 B x 32 on "
    "mio, 5.4 us beside 5.2 at 64 x 16 B x 1 (perf). What is left for WebSocket up to the aim is some 20 and 100 ns; "
    "it takes 88, engine and allocator, and 500 to 650, which is a turn of some 3,000 instructions with three "
    "looks at the clock (110 ns). Tried: one read a batch on mio, a look at the clock less, no second round of a turn "
    "after the last of the input, messages at hand past the waiters, the whole way inlined, fat LTO "
    "(which brought nothing). Not tried: events told while the read buffer is lent, which would spare the copy of what one read "
    "left over, 5 % with 16 KiB.",
    "open": "As note LARGE: of 240 us a message on tokio, 31 are the unmasking copy, where the best peer's takes 16 in "
    "place, 59 the kernel's copies, the rest TCP. Tried: a commit of up to twice what the kernel takes at once (16 writes a "
    "message before; std 0.74 to 1.0 x the best peer), and the pool of buffers (mio 0.26 to 0.7). "
    "Without TCP_NOTSENT_LOWAT it is the same.",
    "threads": "On blocking sockets each connection has a thread, so a message or a batch is a switch of threads: at 64 x "
    "16 B x 1 the scheduler's `finish_task_switch` alone is 1.5 us of 9.4, and the kernel 8.3 (perf), where one thread that "
    "serves all takes 5.2. Two system calls a message, and none to wait. Tried: one poll for both directions, no "
    "futex (33 a batch before).",
    "kept": "Nothing of the message: the core's box for output, 504 bytes, stays until a deadline of the heartbeat "
    "finds the line quiet, which is ten minutes away here; then it is gone (RESULTS.md: 0 after a quiet interval). "
    "It remembers how much the transport takes at once and how much room messages need; freed with every "
    "drained commit it would forget both, and cost an allocation a batch. Tried: the buffers in it are freed at once.",
    "tokio": "A task of 768 B (the connection's 472 among them), the readiness of its socket, 256 B, and a timer, 96 B; the "
    "first two are aligned to 128 bytes, which wastes the rest.",
}
missed = {}


def line(work, ours, beside, ratio, aim, is_met, why):
    if is_met:
        print_row([work, ours, beside, ratio, aim, "yes"])
        return
    note = missed.setdefault(why, len(missed) + 1)
    print_row([work, ours, beside, ratio, aim, f"no ({note})"])


rows = []


def print_row(cells):
    rows.append("| " + " | ".join(cells) + " |")


def in_memory(case, work, aim, most=None, share=1.0):
    """`most` nanoseconds, or `share` of the best peer."""
    row = dict(figures["in_memory", case, "ns/message"])
    ours = row["wspulse"]
    name, best = min(peers(row).items(), key=lambda peer: peer[1])
    is_met = ours <= most if most else ours <= share * best
    why = "small" if most else "large" if share == 1.0 else "hello"
    line(work, told("ns", ours), f"{name} {told('ns', best)}", f"{ours / best:.2f}", aim, is_met, why)


def echo(case, work, aim, ours_names, to_tcp=None, to_best=None):
    row = figures["loopback", case, "messages/s"]
    tcp = max(value for name, value in row.items() if is_limit(name))
    name, best = max(peers(row).items(), key=lambda peer: peer[1])
    for ours_name in ours_names:
        ours = row[ours_name]
        is_met = ours >= to_tcp * tcp if to_tcp else ours >= to_best * best
        beside = f"{name} {told('/s', best)}; TCP {told('/s', tcp)}"
        ratio = f"{ours / best:.2f}; TCP {ours / tcp:.2f}"
        runtime = ours_name.removeprefix("wspulse-")
        why = "open" if to_best else "threads" if runtime == "std" else "tcp"
        line(f"{work}, {runtime}", told("/s", ours), beside, ratio, aim, is_met, why)


def idle(case, work, aim, ours_name, most):
    row = figures["idle", case, "bytes/connection"]
    ours = row[ours_name]
    name, best = min(peers(row).items(), key=lambda peer: peer[1])
    ratio = f"{max(ours, 0) / best:.2f}"
    why = "kept" if case != "idle" else "tokio"
    line(work, told("B", max(ours, 0)), f"{name} {told('B', best)}", ratio, aim, ours <= most, why)


print_row(["work", "wspulse", "best beside it", "ratio", "aim", "met"])
print_row(["---", "---:", "---:", "---:", "---", "---"])
in_memory("echo 16 B binary", "in memory, 16 B", "20 ns", most=20)
in_memory("echo 125 B binary", "in memory, 125 B", "25 ns", most=25)
in_memory("echo 1 KiB binary", "in memory, 1 KiB", "60 ns", most=60)
for size in ["16 KiB", "1 MiB"]:
    for kind in ["binary", "text"]:
        in_memory(f"echo {size} {kind}", f"in memory, {size} {kind}", "1.0 x the best peer")
for pace in ["all, each written", "by the hundred", "one by one"]:
    case = f"hello {pace}, total"
    in_memory(case, f'"Hello, World!", {pace}', "0.5 x the best peer", share=0.5)
every = ["wspulse-tokio", "wspulse-mio", "wspulse-std"]
echo("64x64x32", "echo 64 x 64 B x 32", "0.9 x TCP", every, to_tcp=0.9)
echo("16x1024x8", "echo 16 x 1 KiB x 8", "0.95 x TCP", every, to_tcp=0.95)
echo("8x16384x4", "echo 8 x 16 KiB x 4", "0.95 x TCP", every, to_tcp=0.95)
echo("2x1048576x1", "echo 2 x 1 MiB x 1", "1.05 x the best peer", every, to_best=1.05)
echo("1x16x1", "echo 1 x 16 B x 1", "0.98 x TCP", every, to_tcp=0.98)
echo("64x16x1", "echo 64 x 16 B x 1", "0.98 x TCP", every, to_tcp=0.98)
idle("idle", "idle connection, mio", "512 B", "wspulse-mio", 512)
idle("idle", "idle connection, tokio", "1.5 kB", "wspulse-tokio", 1536)
for runtime in ["mio", "tokio"]:
    name = f"wspulse-{runtime}"
    back = figures["idle", "idle", "bytes/connection"][name]
    idle("kept after 1 MiB", f"kept after 1 MiB, {runtime}", "nothing beside idle", name, 0.1 * back)

def write(path, lines):
    """Puts the lines between the two marks in the file."""
    text = pathlib.Path(path).read_text()
    begin, end = "<!-- bench: written by tests/bench/run.sh -->\n", "<!-- bench: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    block = f"\n{machine}\n\n" + "\n".join(lines) + "\n\n"
    pathlib.Path(path).write_text(before + begin + block + end + after)


notes = [f"{number}. {WHY[why]}" for why, number in missed.items()]
notes = [note.replace("note LARGE", f"note {missed.get('large', 0)}") for note in notes]
if notes:
    notes = ["", "What stands in the way:", "", *notes]
write(aims, rows + notes)


def times(better, worse, words):
    """How many times better than the best peer, always as a number above 1."""
    better_word, worse_word = words
    ratio = worse / better
    return f"{ratio:.1f} times {better_word}" if ratio >= 1 else f"{1 / ratio:.1f} times {worse_word}"


def beside(work, unit, row, ours_name, least, words):
    """One row for README: the best peer is the one with the least, or the most."""
    ours = row[ours_name]
    name, best = (min if least else max)(peers(row).items(), key=lambda peer: peer[1])
    ratio = times(ours, best, words) if least else times(best, ours, words)
    print_row([work, told(unit, ours), f"{told(unit, best)} ({name})", ratio])


rows = []
print_row(["work", "wspulse", "the best of the four", "wspulse is"])
print_row(["---", "---:", "---:", "---"])
for size in ["16 B", "16 KiB", "1 MiB"]:
    row = figures["in_memory", f"echo {size} binary", "ns/message"]
    beside(f"a message of {size}, in memory", "ns", row, "wspulse", True, ("faster", "slower"))
row = figures["loopback", "64x64x32", "messages/s"]
beside("64 connections x 32 messages of 64 B, tokio", "/s", row, "wspulse-tokio", False, ("faster", "slower"))
row = figures["idle", "idle", "bytes/connection"]
beside("memory of an idle connection, tokio", "B", row, "wspulse-tokio", True, ("smaller", "larger"))
write(readme, rows)
