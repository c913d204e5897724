"""An echo server on Python's `websockets`. Argument and commands: see harness/script.rs."""

import asyncio
import json
import os
import signal
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

options = json.loads(sys.argv[1])


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


async def handle(socket):
    request, response = socket.request, socket.response
    report(
        "open",
        path=request.path,
        protocol=socket.subprotocol or "",
        extensions=response.headers.get("Sec-WebSocket-Extensions", ""),
        headers={name.lower(): value for name, value in request.headers.raw_items()},
    )
    try:
        async for message in socket:
            if isinstance(message, bytes) or not await command(socket, message):
                await socket.send(message)
    except ConnectionClosed:
        pass
    await socket.wait_closed()
    report("close", code=socket.close_code, reason=socket.close_reason)


async def command(socket, text):
    verb, *rest = text.split(" ", 2)
    if verb == "close" and rest:
        await socket.close(int(rest[0]), rest[1] if len(rest) > 1 else "")
    elif verb == "close":
        await socket.close()
    elif verb == "terminate":
        socket.transport.abort()
    elif verb == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "silent":
        await asyncio.Event().wait()
    else:
        return False
    return True


async def main():
    server = await serve(
        handle,
        "127.0.0.1",
        0,
        compression="deflate" if options.get("deflate") else None,
        subprotocols=options.get("protocols"),
        select_subprotocol=None if options.get("protocols") else lambda connection, offered: None,
        max_size=512 * 1024 * 1024,
        ping_interval=None,
    )
    report("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
