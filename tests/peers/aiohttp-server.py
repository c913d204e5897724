"""An echo server on aiohttp, which answers every Close with 1000."""

import asyncio
import json

from aiohttp import WSMsgType, web


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


async def handle(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    report("open", path=request.path)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    report("close", code=socket.close_code)
    return socket


async def main():
    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    report("listening", port=site._server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


asyncio.run(main())
