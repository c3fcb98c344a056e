"""What websockets' Sans-I/O layer makes of streams of frames, and of request heads.

Reads a case from each line of standard input and writes the outcome as a line, in the format of
tests/src/differential/lines.rs. A line of the word "head" and bytes in hex is a request head. Text is decoded frame by frame, as websockets' own
Connection.recv_streaming() does it: the Sans-I/O layer leaves that to its user.
"""

import codecs
import logging
import os
import sys

from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

URI = parse_uri("ws://localhost/")
LOGGER = logging.getLogger("replay")
LOGGER.setLevel(logging.CRITICAL)
Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Receiver:
    """One end of a connection, and what it has delivered and sent."""

    def __init__(self, role, message_limit, frame_limit):
        options = {
            "state": OPEN,
            "max_size": (message_limit, frame_limit),
            "logger": LOGGER,
        }
        if role == "server":
            self.protocol = ServerProtocol(**options)
        else:
            self.protocol = ClientProtocol(URI, **options)
        self.items = []
        self.pongs = []
        self.close_sent = None
        self.message = None
        self.closes_first = False
        self.end = None

    def close(self):
        self.protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self.closes_first = True
        self.protocol.data_to_send()

    def receive(self, piece):
        self.protocol.receive_data(piece)
        for frame in self.protocol.events_received():
            self.handle(frame)
        for data in self.protocol.data_to_send():
            self.sent(data)
        error = self.protocol.parser_exc
        if self.end is None and error is not None:
            self.end = f"failed:{close_code(error)}"
        if self.end == "closed":
            received = self.protocol.close_rcvd
            answer = "" if self.closes_first else self.close_sent
            reason = received.reason.encode().hex()
            self.end = f"closed:{int(received.code)}:{reason}:{answer}"
        # What it says on the wire is what it says to its user.
        if self.end is not None and self.end.startswith("failed") and not self.closes_first:
            assert self.end == f"failed:{self.close_sent}", (self.end, self.close_sent)

    def handle(self, frame):
        if frame.opcode is Opcode.CLOSE:
            self.end = "closed"
        elif frame.opcode is Opcode.PING:
            self.items.append("P" + frame.data.hex())
        elif frame.opcode is Opcode.PONG:
            self.items.append("O" + frame.data.hex())
        else:
            if frame.opcode is not Opcode.CONT:
                is_text = frame.opcode is Opcode.TEXT
                self.message = (Utf8Decoder() if is_text else None, bytearray())
            decoder, data = self.message
            data += frame.data
            if decoder is not None:
                try:
                    decoder.decode(frame.data, frame.fin)
                except UnicodeDecodeError:
                    self.protocol.fail(CloseCode.INVALID_DATA)
                    self.end = f"failed:{int(CloseCode.INVALID_DATA)}"
                    return
            if frame.fin:
                self.items.append(("T" if decoder is not None else "B") + data.hex())

    def sent(self, data):
        """Reads a frame that was sent; the end of the stream is empty."""
        if not data:
            return
        opcode = data[0] & 0x0F
        payload = data[2:]
        if data[1] & 0x80:
            mask, payload = payload[:4], payload[4:]
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        if opcode == Opcode.PONG:
            self.pongs.append(payload.hex())
        elif opcode == Opcode.CLOSE:
            self.close_sent = int.from_bytes(payload[:2], "big") if payload else 1005


def close_code(error):
    """The code of the Close frame for an exception of the parser."""
    if isinstance(error, PayloadTooBig):
        return 1009
    if isinstance(error, ProtocolError):
        return 1002
    if isinstance(error, UnicodeDecodeError):
        return 1007
    raise error


def replay(line):
    role, closes_first, message_limit, frame_limit, cuts, data = line.split(" ")
    receiver = Receiver(role, int(message_limit), int(frame_limit))
    if closes_first == "1":
        receiver.close()
    data = b"" if data == "-" else bytes.fromhex(data)
    lengths = [] if cuts == "-" else [int(length) for length in cuts.split(",")]
    start = 0
    for index, length in enumerate(lengths):
        receiver.receive(data[start : start + length])
        start += length
        if receiver.end is not None:
            break
    else:
        index = 0
        receiver.end = "eof"
    items, pongs = (",".join(part) if part else "-" for part in (receiver.items, receiver.pongs))
    return f"{items} {pongs} {receiver.end} {index}"


def accept(head):
    """The value of Sec-WebSocket-Accept in a server's answer to a request, - if it refuses."""
    extensions = [ServerPerMessageDeflateFactory()]
    protocol = ServerProtocol(extensions=extensions, logger=LOGGER)
    protocol.receive_data(head)
    protocol.receive_eof()
    events = protocol.events_received()
    if not events or not isinstance(events[0], Request):
        return "-"
    response = protocol.accept(events[0])
    if response.status_code != 101:
        return "-"
    return response.headers["Sec-WebSocket-Accept"]


def answer(line):
    if line.startswith("head "):
        return accept(bytes.fromhex(line.removeprefix("head ")))
    return replay(line)


try:
    for line in sys.stdin:
        print(answer(line.rstrip("\n")))
except BrokenPipeError:
    # The reader has found a difference, and told it.
    os._exit(1)
