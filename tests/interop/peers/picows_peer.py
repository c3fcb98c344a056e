"""The peer on picows's core interface: picows_peer.py server | picows_peer.py client URL."""

import asyncio
import importlib.metadata
import sys

from picows import (
    WSAutoPingStrategy,
    WSListener,
    WSMsgType,
    ws_connect,
    ws_create_server,
)

OPTIONS = {
    "max_frame_size": 32 << 20,
    "enable_auto_ping": True,
    "auto_ping_strategy": WSAutoPingStrategy.PING_PERIODICALLY,
    # It demands that a pong may not take longer than the interval.
    "auto_ping_idle_timeout": 1,
    "auto_ping_reply_timeout": 1,
}
ended = {}
done = asyncio.Event()
tasks = set()


class Listener(WSListener):
    """Puts messages together, which picows leaves to its user."""

    def __init__(self, name):
        self.name = name
        self.kind = None
        self.parts = []
        self.in_parts = False
        self.pinged = None
        ended[name] = "open"

    def on_ws_frame(self, transport, frame):
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.msg_type != WSMsgType.CONTINUATION:
                self.kind = frame.msg_type
            self.parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                payload = b"".join(self.parts)
                self.parts.clear()
                self.on_message(transport, self.kind, payload)
        elif frame.msg_type == WSMsgType.PONG:
            if self.pinged is not None and frame.get_payload_as_bytes() == self.pinged:
                transport.send(WSMsgType.TEXT, b"pong " + self.pinged)
                self.pinged = None
        elif frame.msg_type == WSMsgType.CLOSE:
            ended[self.name] = f"{int(frame.get_close_code())} {frame.get_close_reason() or ''}"
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport):
        if self.name == "control":
            done.set()
        elif ended[self.name] == "open":
            ended[self.name] = "1006 "

    def on_message(self, transport, kind, payload):
        if self.name == "control":
            self.on_order(transport, payload.decode())
        elif kind == WSMsgType.TEXT and payload.startswith(b"cmd:"):
            word, _, rest = payload[4:].partition(b" ")
            if word == b"ping":
                self.pinged = rest
                transport.send_ping(rest)
            elif word == b"close":
                code, _, reason = rest.partition(b" ")
                transport.send_close(int(code), reason)
            elif word == b"parts":
                self.in_parts = True
        elif self.in_parts:
            self.in_parts = False
            step = len(payload) // 4 + 1
            for at in range(0, len(payload), step):
                transport.send(
                    kind if at == 0 else WSMsgType.CONTINUATION,
                    payload[at : at + step],
                    fin=at + step >= len(payload),
                )
        else:
            transport.send(kind, payload)

    def on_order(self, transport, order):
        word, _, rest = order.partition(" ")
        if word == "open":
            task = asyncio.create_task(connect(rest))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif word == "closed":
            transport.send(WSMsgType.TEXT, ended.get(rest, "open").encode())
        elif word == "version":
            transport.send(WSMsgType.TEXT, importlib.metadata.version("picows").encode())



async def connect(url):
    name = url.rpartition("/")[2]
    transport, _ = await ws_connect(lambda: Listener(name), url, **OPTIONS)
    await transport.wait_disconnected()


async def main():
    if sys.argv[1] == "client":
        await connect(sys.argv[2])
        return
    server = await ws_create_server(
        lambda request: Listener(request.path.decode()[1:]), "127.0.0.1", 0, **OPTIONS
    )
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await done.wait()


asyncio.run(main())
