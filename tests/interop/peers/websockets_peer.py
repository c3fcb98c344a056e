"""The peer on Python's websockets, or on picows's own module of the same interface.

websockets_peer.py MODULE server | websockets_peer.py MODULE client URL
"""

import asyncio
import importlib
import importlib.metadata
import sys

library = importlib.import_module(sys.argv[1])

OPTIONS = {"max_size": 32 << 20, "ping_interval": 0.5, "ping_timeout": 5}
ended = {}
done = asyncio.Event()
tasks = set()


async def control(ws):
    async for order in ws:
        word, _, rest = order.partition(" ")
        if word == "open":
            task = asyncio.create_task(connect(rest))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif word == "closed":
            await ws.send(ended.get(rest, "open"))
        elif word == "version":
            await ws.send(importlib.metadata.version(sys.argv[1].partition(".")[0]))
    done.set()


async def echo(ws, name):
    in_parts = False
    try:
        async for message in ws:
            if isinstance(message, str) and message.startswith("cmd:"):
                word, _, rest = message[4:].partition(" ")
                if word == "ping":
                    pong = await ws.ping(rest)
                    await pong
                    await ws.send(f"pong {rest}")
                elif word == "close":
                    code, _, reason = rest.partition(" ")
                    await ws.close(int(code), reason)
                elif word == "parts":
                    in_parts = True
            elif in_parts:
                in_parts = False
                step = len(message) // 4 + 1
                await ws.send([message[at : at + step] for at in range(0, len(message), step)])
            else:
                await ws.send(message)
    except library.exceptions.ConnectionClosed:
        pass
    ended[name] = f"{ws.close_code} {ws.close_reason or ''}"


async def serve(ws):
    name = ws.request.path[1:]
    if name == "control":
        await control(ws)
    else:
        await echo(ws, name)


async def connect(url):
    async with library.connect(url, **OPTIONS) as ws:
        name = url.rpartition("/")[2]
        if name == "control":
            await control(ws)
        else:
            await echo(ws, name)


async def main():
    if sys.argv[2] == "client":
        await connect(sys.argv[3])
        return
    async with library.serve(serve, "127.0.0.1", 0, **OPTIONS) as server:
        port = list(server.sockets)[0].getsockname()[1]
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await done.wait()


asyncio.run(main())
