"""A client on aiohttp that says `say` and waits for the Close. Argument: `{url, say}`."""

import asyncio
import json
import sys

from aiohttp import ClientSession, WSMsgType

options = json.loads(sys.argv[1])


async def main():
    async with ClientSession() as session, session.ws_connect(options["url"]) as socket:
        await socket.send_str(options["say"])
        message = await socket.receive()
        if message.type != WSMsgType.CLOSE:
            print(json.dumps({"event": "error", "what": str(message)}), flush=True)
        print(json.dumps({"event": "close", "code": message.data, "reason": message.extra}), flush=True)


asyncio.run(main())
