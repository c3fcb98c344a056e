"""The peer on aiohttp: aiohttp_peer.py server | aiohttp_peer.py client URL."""

import asyncio
import sys

import aiohttp
from aiohttp import web

# The heartbeat waits for half its time for a pong; one second leaves a busy machine room.
OPTIONS = {"max_msg_size": 32 << 20, "heartbeat": 2.0}
ended = {}
done = asyncio.Event()
tasks = set()


async def control(ws, session):
    async for order in ws:
        word, _, rest = order.data.partition(" ")
        if word == "open":
            task = asyncio.create_task(connect(session, rest))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif word == "closed":
            await ws.send_str(ended.get(rest, "open"))
        elif word == "version":
            await ws.send_str(aiohttp.__version__)
    done.set()


async def echo(ws, name):
    # The iterator would swallow the Close message, which alone has the reason.
    said = None
    while said is None:
        message = await ws.receive()
        if message.type == aiohttp.WSMsgType.TEXT and message.data.startswith("cmd:"):
            word, _, rest = message.data[4:].partition(" ")
            if word == "ping":
                await ws.ping(rest.encode())
                await ws.send_str(f"pinged {rest}")
            elif word == "close":
                code, _, reason = rest.partition(" ")
                await ws.close(code=int(code), message=reason.encode())
                said = f"{ws.close_code} "
        elif message.type == aiohttp.WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type == aiohttp.WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        elif message.type == aiohttp.WSMsgType.CLOSE:
            said = f"{message.data} {message.extra}"
        else:
            said = f"{ws.close_code} {message.type.name} {message.data}"
    ended[name] = said


async def serve(request):
    ws = web.WebSocketResponse(**OPTIONS)
    await ws.prepare(request)
    name = request.match_info["name"]
    if name == "control":
        await control(ws, None)
    else:
        await echo(ws, name)
    return ws


async def connect(session, url):
    async with session.ws_connect(url, compress=15, **OPTIONS) as ws:
        name = url.rpartition("/")[2]
        if name == "control":
            await control(ws, session)
        else:
            await echo(ws, name)


async def main():
    if sys.argv[1] == "client":
        async with aiohttp.ClientSession() as session:
            await connect(session, sys.argv[2])
        return
    app = web.Application()
    app.add_routes([web.get("/{name}", serve)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listening on 127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await done.wait()


asyncio.run(main())
