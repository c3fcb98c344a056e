"""A client of Python's websockets that listens to servers which only send.

ticks_peer.py SECONDS NAME=URL.. : connects to each with the library's defaults (a ping each 20 s,
20 s for its pong) and with 2 s and 2 s, at once. Prints a line for each connection; it fails if one
ends before the time is over, or hears nothing in the last five seconds.
"""

import asyncio
import sys

import websockets

SECONDS = float(sys.argv[1])
PACES = {"defaults": {}, "2 s / 2 s": {"ping_interval": 2, "ping_timeout": 2}}
QUIET = 5


async def listen(name, url, pace):
    loop = asyncio.get_running_loop()
    ticks, heard = 0, None
    ended = None
    try:
        async with websockets.connect(url, **PACES[pace]) as ws:
            deadline = loop.time() + SECONDS
            while (left := deadline - loop.time()) > 0:
                try:
                    await asyncio.wait_for(ws.recv(), left)
                except TimeoutError:
                    break
                ticks, heard = ticks + 1, loop.time()
            silence = loop.time() - (heard or deadline - SECONDS)
            if silence > QUIET:
                ended = f"no tick in the last {silence:.1f} s"
    except (websockets.exceptions.WebSocketException, OSError) as error:
        ended = ended or f"{type(error).__name__}: {error}"
    print(f"{name}, {pace}: {ticks} ticks, {ended or 'alive'}", flush=True)
    return ended is None


async def main():
    servers = [server.partition("=") for server in sys.argv[2:]]
    alive = await asyncio.gather(
        *(listen(name, url, pace) for name, _, url in servers for pace in PACES)
    )
    sys.exit(0 if all(alive) else 1)


asyncio.run(main())
