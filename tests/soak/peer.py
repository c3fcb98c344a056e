"""Python's websockets as the peer: an echo server, and clients of ours.

peer.py SEED TARGET..., with a client for each target. Runs until standard input ends.
"""

import asyncio
import collections
import random
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

PATIENCE = 30
OPTIONS = dict(
    max_size=4 << 20,
    # By default reading stops while 16 frames are unread, and in a close it does not go on: then the
    # other side's Close frame is not seen before close_timeout.
    max_queue=None,
    ping_interval=2,
    ping_timeout=20,
    open_timeout=20,
    close_timeout=20,
)

accounts = collections.defaultdict(collections.Counter)
failures = 0
over = asyncio.Event()


def enter(kind, messages, size, end):
    global failures
    if end.startswith("FAILED"):
        failures += 1
        print(f"FAILED {kind}: {end}")
        end = "FAILED"
    accounts[kind]["connections"] += 1
    accounts[kind]["messages"] += messages
    accounts[kind]["bytes"] += size
    accounts[kind]["end: " + end] += 1


def size_of(message):
    return len(message.encode()) if isinstance(message, str) else len(message)


# ---- the server


def server(seed):
    numbers = iter(range(1 << 62))

    async def answer(ws):
        rng = random.Random(f"{seed} server {next(numbers)}")
        # Most clients leave before; those that only come back do not.
        left = rng.randint(1, 100) if rng.random() < 0.5 else rng.randint(100, 1_000)
        messages = size = 0
        end = "closed by the client"
        try:
            async for message in ws:
                await ws.send(message)
                messages += 1
                size += size_of(message)
                if rng.random() < 0.03:
                    await ws.ping(rng.randbytes(8))
                if messages == left:
                    if rng.random() < 0.25:
                        end = "cut by us"
                        ws.transport.abort()
                    else:
                        end = "closed by us"
                        await ws.close(rng.choice([1001, 1011, 1012, 4000]))
                    break
        except websockets.ConnectionClosed:
            pass
        # A client may drop its connection at any time; what it may not do is break a rule, or be
        # silent, for which this side closes with one of these.
        sent = ws.protocol.close_sent
        if sent is not None and sent.code in (1002, 1003, 1007, 1009, 1011) and end != "closed by us":
            end = f"FAILED had to close with {sent}"
        enter("websockets server", messages, size, end)

    return answer


# ---- clients


def length(rng):
    draw = rng.randrange(1_000)
    if draw < 700:
        return rng.randint(0, 125)
    if draw < 900:
        return rng.randint(126, 4_096)
    if draw < 990:
        return rng.randint(4_097, 65_536)
    return 1 << 20


def message(rng):
    count = length(rng)
    if rng.random() < 0.5:
        return rng.randbytes(count)
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz é€🦀", k=count // 2))


def parts(rng, whole):
    places = sorted(rng.randint(0, len(whole)) for _ in range(rng.randint(1, 4)))
    return [whole[a:b] for a, b in zip([0] + places, places + [len(whole)])]


class Broken(Exception):
    """What came is not what should."""


class Talk:
    """One connection to a server: what was sent comes back, in order."""

    def __init__(self, ws, rng):
        self.ws = ws
        self.rng = rng
        self.expected = collections.deque()
        self.waiting = 0
        self.moved = asyncio.Event()
        self.messages = 0
        self.bytes = 0

    async def hear(self):
        """Returns when the connection is closed, however."""
        try:
            async for came in self.ws:
                self.take(came)
        except websockets.ConnectionClosed:
            pass

    def take(self, came):
        if not self.expected:
            raise Broken("an echo of nothing")
        expected = self.expected.popleft()
        if came != expected:
            raise Broken(f"{size_of(expected)} bytes came back as {size_of(came)}")
        self.waiting -= len(expected)
        self.messages += 1
        self.bytes += size_of(came)
        self.moved.set()

    async def until(self, holds):
        while not holds():
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), PATIENCE)
            except asyncio.TimeoutError:
                raise Broken(f"{len(self.expected)} messages are not echoed") from None

    async def speak(self):
        """Returns whether the connection is to be closed in order."""
        rng = self.rng
        for _ in range(rng.randint(3, 60)):
            if over.is_set():
                break
            # With little on its way, neither side's send has to wait for the other's.
            await self.until(lambda: len(self.expected) < 8 and self.waiting < 256 << 10)
            draw = rng.randrange(100)
            if draw < 65:
                whole = message(rng)
                self.expected.append(whole)
                self.waiting += len(whole)
                await self.ws.send(whole if rng.random() < 0.8 else parts(rng, whole))
            elif draw < 72:
                await self.ws.ping(rng.randbytes(8))
            elif draw < 94:
                await asyncio.sleep(rng.random() * 0.15)
            elif draw == 94:
                # Long enough for the heartbeats of either side.
                await asyncio.sleep(rng.random() * 4)
            else:
                await self.until(lambda: not self.expected)
        if rng.random() < 0.15 and not over.is_set():
            return False
        await self.until(lambda: not self.expected)
        return True


async def converse(ws, talk):
    hearing = asyncio.create_task(talk.hear())
    speaking = asyncio.create_task(talk.speak())
    try:
        await asyncio.wait([hearing, speaking], return_when=asyncio.FIRST_COMPLETED)
        if not speaking.done():
            # The server ended it, in a way that is judged below.
            speaking.cancel()
        elif speaking.exception() is None:
            if not speaking.result():
                ws.transport.abort()
                return "cut by us"
            code = talk.rng.choice([1000, 1001, 3500, 4999])
            await ws.close(code)
            await hearing
            if ws.close_code in (code, 1001):
                return "closed by us"
            return f"FAILED closed with {code}, answered with {ws.close_code}"
        await asyncio.gather(hearing, speaking, return_exceptions=True)
        for task in (hearing, speaking):
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, websockets.ConnectionClosed):
                return f"FAILED {error!r}"
        if ws.close_code == 1001:
            return "1001"
        return f"FAILED ended with {ws.close_code} {ws.close_reason}, {ws.protocol.close_sent}"
    finally:
        hearing.cancel()
        speaking.cancel()
        await asyncio.gather(hearing, speaking, return_exceptions=True)


async def client(seed, who, target):
    nth = 0
    while not over.is_set():
        rng = random.Random(f"{seed} client {who} {nth}")
        nth += 1
        try:
            ws = await connect(f"ws://{target}/", proxy=None, **OPTIONS)
        except (OSError, EOFError, websockets.InvalidMessage):
            # A server that restarts is not there for some time.
            enter("websockets client", 0, 0, "refused")
            await asyncio.sleep(0.1)
            continue
        except Exception as error:
            enter("websockets client", 0, 0, f"FAILED no connection: {error!r}")
            await asyncio.sleep(0.5)
            continue
        talk = Talk(ws, rng)
        end = await converse(ws, talk)
        if end.startswith("FAILED"):
            end += f" (client {who}, connection {nth - 1}, to {target})"
            ws.transport.abort()
        enter("websockets client", talk.messages, talk.bytes, end)


async def main():
    seed, targets = sys.argv[1], sys.argv[2:]
    async with serve(server(seed), "127.0.0.1", 0, **OPTIONS) as listening:
        host, port = listening.sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)
        clients = [asyncio.create_task(client(seed, who, target)) for who, target in enumerate(targets)]
        await asyncio.to_thread(sys.stdin.read)
        over.set()
        done, late = await asyncio.wait(clients, timeout=2 * PATIENCE)
        if late:
            enter("websockets client", 0, 0, f"FAILED {len(late)} clients do not end")
        for task in done:
            if task.exception() is not None:
                enter("websockets client", 0, 0, f"FAILED {task.exception()!r}")
    for kind, account in accounts.items():
        ends = {end.removeprefix("end: "): n for end, n in account.items() if end.startswith("end: ")}
        print(
            f"{kind}: {account['connections']} connections, {account['messages']} messages, "
            f"{account['bytes'] >> 20} MiB; ends {ends}"
        )
    return 1 if failures else 0


sys.exit(asyncio.run(main()))
