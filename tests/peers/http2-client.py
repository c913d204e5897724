"""An HTTP/2 client on Python's `h2`, which does as it is told. Argument and commands: see harness/http2.rs."""

import asyncio
import json
import os
import socket
import ssl
import struct
import sys

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

options = json.loads(sys.argv[1])


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Stream:
    def __init__(self, name):
        self.name = name
        self.held = False  # what comes is not acknowledged
        self.received = bytearray()  # of a WebSocket, not yet a frame
        self.body = bytearray()
        self.waiting = bytearray()  # to be sent as the window opens
        self.ending = False
        self.is_websocket = False


class Connection(h2.connection.H2Connection):
    """`h2` takes a GOAWAY for the end, but streams go on behind it (RFC 9113 section 6.8)."""

    def _receive_goaway_frame(self, frame):
        event = h2.events.ConnectionTerminated()
        event.error_code, event.last_stream_id = frame.error_code, frame.last_stream_id
        return [], [event]


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.streams, self.ids = {}, {}
        self.flooding = None  # or what came since
        config = h2.config.H2Configuration(
            client_side=True,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            header_encoding="utf-8",
        )
        self.h2 = Connection(config=config)
        if "window" in options:
            self.h2.local_settings.initial_window_size = options["window"]
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    # ---- What comes.

    async def read(self):
        try:
            while data := await self.reader.read(65536):
                if self.flooding is not None:
                    self.watch(data)
                    continue
                for event in self.h2.receive_data(data):
                    self.handle(event)
                self.flush()
            report("lost", how="fin")
        except (ConnectionError, ssl.SSLError) as error:
            report("lost", how=type(error).__name__)
        except Exception as error:
            report("error", what=repr(error))

    def watch(self, data):
        """What `h2` knows nothing of: answers to a flood."""
        self.flooding += data
        while len(self.flooding) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self.flooding[:9]))
            if len(self.flooding) < 9 + length:
                return
            if isinstance(frame, GoAwayFrame):
                frame.parse_body(memoryview(self.flooding[9 : 9 + length]))
                report("goaway", code=name_of(frame.error_code), last=frame.last_stream_id)
            if isinstance(frame, HeadersFrame):
                report("refused")
            del self.flooding[: 9 + length]

    def handle(self, event):
        match event:
            case h2.events.RemoteSettingsChanged():
                value = self.h2.remote_settings.enable_connect_protocol
                streams = self.h2.remote_settings.max_concurrent_streams
                report("settings", connect=value, streams=streams)
            case h2.events.ResponseReceived():
                headers = [[str(name), str(value)] for name, value in event.headers]
                stream = self.streams[event.stream_id]
                stream.is_websocket &= headers[0] == [":status", "200"]
                report("answer", name=stream.name, headers=headers)
            case h2.events.DataReceived():
                stream = self.streams[event.stream_id]
                if stream.held:  # but the others have room
                    self.h2.increment_flow_control_window(event.flow_controlled_length)
                else:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.take(stream, event.data)
            case h2.events.StreamEnded():
                stream = self.streams[event.stream_id]
                report("end", name=stream.name, body=stream.body.decode(errors="replace"))
            case h2.events.StreamReset():
                report("reset", name=self.streams[event.stream_id].name, code=name_of(event.error_code))
            case h2.events.ConnectionTerminated():
                report("goaway", code=name_of(event.error_code), last=event.last_stream_id)
            case h2.events.WindowUpdated() | h2.events.SettingsAcknowledged():
                for id, stream in self.streams.items():
                    self.push(id, stream)

    def take(self, stream, data):
        if not stream.is_websocket:
            stream.body += data
            return
        stream.received += data
        while frame := next_frame(stream.received):
            opcode, payload = frame
            if opcode == 8:
                code = int.from_bytes(payload[:2], "big") if payload else 1005
                report("close", name=stream.name, code=code, reason=payload[2:].decode())
            elif opcode == 9:
                self.send(stream.name, websocket_frame(10, payload))
            else:
                text = payload.decode(errors="replace") if len(payload) < 1000 else ""
                report("message", name=stream.name, size=len(payload), text=text)

    # ---- What goes.

    def open(self, name, headers, end):
        id = self.h2.get_next_available_stream_id()
        self.streams[id], self.ids[name] = Stream(name), id
        self.h2.send_headers(id, headers, end_stream=end)
        return self.streams[id]

    def send(self, name, data, ending=False):
        id = self.ids[name]
        stream = self.streams[id]
        stream.waiting += data
        stream.ending |= ending
        self.push(id, stream)

    def push(self, id, stream):
        """Sends what the windows allow."""
        try:
            while stream.waiting:
                room = min(self.h2.local_flow_control_window(id), self.h2.max_outbound_frame_size)
                if room <= 0:
                    return
                self.h2.send_data(id, bytes(stream.waiting[:room]))
                del stream.waiting[:room]
                if not stream.waiting:
                    report("sent", name=stream.name)
            if stream.ending:
                stream.ending = False
                self.h2.end_stream(id)
        except h2.exceptions.ProtocolError:  # the stream is over
            stream.waiting.clear()

    def do(self, command):
        name = command.get("name")
        match command["do"]:
            case "request":
                body = command.get("body", "").encode()
                headers = pseudo(command, command.get("method", "GET")) + fields(command)
                self.open(name, headers, end=not body and not command.get("open"))
                if body:
                    self.send(name, body, ending=not command.get("open"))
            case "websocket":
                headers = pseudo(command, "CONNECT")
                headers.append((":protocol", command.get("protocol", "websocket")))
                headers = [field for field in headers if field[0] not in command.get("without", [])]
                stream = self.open(name, headers + fields(command), end=command.get("end", False))
                stream.is_websocket = True
            case "text":
                self.send(name, websocket_frame(1, command["text"].encode()))
            case "bulk":
                self.send(name, websocket_frame(2, b"x" * command["size"]) * command["count"])
            case "close":
                payload = struct.pack("!H", command["code"]) + command["reason"].encode() if "code" in command else b""
                self.send(name, websocket_frame(8, payload))
            case "end":
                self.send(name, b"", ending=True)
            case "reset":
                self.h2.reset_stream(self.ids[name], h2.errors.ErrorCodes[command.get("code", "CANCEL")])
            case "hold":
                self.streams[self.ids[name]].held = True
            case "goaway":
                self.h2.close_connection()
            case "fin":
                self.flush()
                self.writer.close()
            case "rst":
                raw = self.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
            case "flood":
                self.flooding = bytearray()
                self.writer.write(flood(command["kind"], command["count"], self))
            case what:
                raise ValueError(what)
        if not self.writer.is_closing():
            self.flush()


def name_of(code):
    try:
        return h2.errors.ErrorCodes(code).name
    except ValueError:
        return str(code)


def pseudo(command, method):
    return [
        (":method", method),
        (":scheme", command.get("scheme", "https")),
        (":authority", command.get("authority", f"localhost:{options['port']}")),
        (":path", command.get("path", "/")),
    ]


def fields(command):
    given = [tuple(field) for field in command.get("headers", [])]
    if command["do"] == "websocket" and not any(name == "sec-websocket-version" for name, _ in given):
        given.append(("sec-websocket-version", "13"))
    return given


def websocket_frame(opcode, payload):
    mask = os.urandom(4)
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    key = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + masked


def next_frame(data):
    """Takes a whole frame off the front of `data`; anything but a final, unmasked one is an error."""
    if len(data) < 2:
        return None
    assert data[0] & 0x70 == 0 and data[1] & 0x80 == 0, data[:2]
    size, start = data[1], 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10], "big"), 10
    if len(data) < start or len(data) < start + size:
        return None
    opcode, payload = data[0] & 0x0F, bytes(data[start : start + size])
    del data[: start + size]
    return opcode, payload


def flood(kind, count, client):
    """Frames that `h2` itself would not send. Streams of their own begin at 1."""
    # Sensitive: not for the table, so that the same bytes say the same again.
    head = client.h2.encoder.encode([(name, value, True) for name, value in pseudo({"path": "/none"}, "GET")])

    def request(id, end_headers=True, block=head):
        frame = HeadersFrame(id, data=block)
        frame.flags.add("END_STREAM")
        if end_headers:
            frame.flags.add("END_HEADERS")
        return frame.serialize()

    match kind:
        case "ping":
            return PingFrame(0, opaque_data=b"12345678").serialize() * count
        case "settings":
            return SettingsFrame(0, settings={4: 65535}).serialize() * count
        case "priority":
            return PriorityFrame(1, depends_on=0, stream_weight=1).serialize() * count
        case "window":
            return WindowUpdateFrame(0, window_increment=1).serialize() * count
        case "empty-data":
            id = client.ids["main"]
            return DataFrame(id, data=b"").serialize() * count
        case "continuation":
            return request(1, end_headers=False) + ContinuationFrame(1, data=b"").serialize() * count
        case "fields":
            block = client.h2.encoder.encode([("x-%d" % i, "y" * 1000) for i in range(count)])
            frames = request(1, end_headers=False)
            parts = [block[i : i + 16000] for i in range(0, len(block), 16000)]
            for i, part in enumerate(parts):
                frame = ContinuationFrame(1, data=part)
                if i == len(parts) - 1:
                    frame.flags.add("END_HEADERS")
                frames += frame.serialize()
            return frames
        case "reset":
            reset = lambda id: RstStreamFrame(id, error_code=8).serialize()
            return b"".join(request(id) + reset(id) for id in range(1, 2 * count, 2))
        case "hpack":
            # One large field in the table, then requests of nothing but references to it.
            big = client.h2.encoder.encode([("x-big", "z" * 3000)])
            again = b"\xbe" * 4000  # index 62: the newest entry
            return request(1, block=head + big) + b"".join(request(id, block=head + again) for id in range(3, 2 * count, 2))
    raise ValueError(kind)


async def main():
    context = ssl.create_default_context(cafile=options["ca"])
    context.set_alpn_protocols(options.get("alpn", ["h2", "http/1.1"]))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", options["port"], ssl=context, server_hostname=options.get("sni", "localhost")
    )
    report("connected", alpn=writer.get_extra_info("ssl_object").selected_alpn_protocol())
    client = Client(reader, writer)
    reading = asyncio.create_task(client.read())
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        try:
            client.do(json.loads(line))
            await writer.drain()
        except ConnectionError:
            pass  # the reading task says so
    reading.cancel()


asyncio.run(main())
