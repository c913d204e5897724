"""A client on Python's `websockets`. Argument: see harness/script.rs."""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

options = json.loads(sys.argv[1])


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def tls():
    if "ca" not in options:
        return None
    context = ssl.create_default_context(cafile=options["ca"])
    if "cert" in options:
        context.load_cert_chain(options["cert"], options["key"])
    return context


async def main():
    async with connect(
        options["url"],
        ssl=tls(),
        subprotocols=options.get("protocols"),
        compression="deflate" if options.get("deflate") else None,
        max_size=512 * 1024 * 1024,
        ping_interval=None,
        proxy=None,
    ) as socket:
        extensions = socket.response.headers.get("Sec-WebSocket-Extensions", "")
        report("open", protocol=socket.subprotocol or "", extensions=extensions)
        echoed = 0
        try:
            for message in options.get("messages", []):
                await exchange(socket, message)
                echoed += 1
            report("conversed", echoed=echoed)
            await finish(socket)
            await socket.wait_closed()
        except ConnectionClosed:
            pass
        report("close", code=socket.close_code, reason=socket.close_reason, echoed=echoed)


async def exchange(socket, message):
    wanted = message.get("text") or content(message)
    fragments = message.get("fragments")
    await socket.send(fragments or wanted)
    if await socket.recv() != wanted:
        report("error", what="an echo differs")


def content(message):
    if "fragments" in message:
        return "".join(message["fragments"])
    size = message["size"]
    if message["kind"] == "text":
        return ("Grüße, " * (size // 7 + 1))[:size]
    block = bytes((i * 2654435761 >> 13) & 0xFF for i in range(65_521))
    return (block * (size // len(block) + 1))[:size]


async def finish(socket):
    if "close" in options:
        await socket.close(*options["close"])  # without arguments: 1000
    elif "say" in options:
        await socket.send(options["say"])
    elif options.get("terminate"):
        socket.transport.abort()


asyncio.run(main())
