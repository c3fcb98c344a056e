#!/usr/bin/env python3
"""reach.py RESULTS README MACHINE: writes what wspulse set out to reach, and what came of it, between
two marks in README, from the lines of JSON in the folder RESULTS."""

import json
import pathlib
import sys

results, readme, machine = sys.argv[1:]
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
    "small": "A fifth of the instructions of a 16-byte echo is malloc's and free's, for one exact "
    "allocation a message. Tried: the engine's questions asked once for a message in one frame (965 to "
    "627 instructions by `instructions.sh`), input and events in one call, messages decoded one ahead. "
    "In the profile of the plain loop the moves of a fresh message come first: they wait for its stores.",
    "large": "Memory follows what arrived, at most twice over, never the length that a peer "
    "announces: the buffer grows four times on the way to 1 MiB, and each growth may copy. Tried: "
    "unmasking in the pass that copies, text checked with vectors and once, payloads sent without a "
    "copy. Not profiled further.",
    "hello": "A message that is written alone pays for a buffer, a commit and a report each. Tried: no "
    "more than the row above. Not profiled further.",
    "tcp": "In the kernel 64 x 64 B x 32 costs what plain TCP costs there (profiled on mio: one read and one "
    "write a batch). What comes on top is the engine, the allocator, and for each batch a turn with three "
    "looks at the clock. Tried: one read a batch on mio, fewer looks at the clock, "
    "messages at hand past the waiters, the whole way inlined, fat LTO (which brought nothing).",
    "open": "Not profiled. Little is queued in the kernel, so that pings are not late (TCP_NOTSENT_LOWAT), "
    "and a commit is 64 KiB: a long message leaves in many turns.",
    "threads": "On blocking sockets each connection has a thread, and batches switch between them. Not "
    "profiled.",
    "kept": "One message's buffer, which the allocator keeps for the whole process, spread over the "
    "thousand connections that carried one.",
    "tokio": "A task holds the connection, its timer and the readiness of its socket; 2,048 B before the "
    "opening handshake was taken out of it.",
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

text = pathlib.Path(readme).read_text()
begin, end = "<!-- bench: written by tests/bench/run.sh -->\n", "<!-- bench: end -->"
before, rest = text.split(begin)
_, after = rest.split(end)
notes = [f"{number}. {WHY[why]}" for why, number in missed.items()]
if notes:
    notes = ["", "What stands in the way:", "", *notes]
block = f"\n{machine}\n\n" + "\n".join(rows + notes) + "\n\n"
pathlib.Path(readme).write_text(before + begin + block + end + after)
