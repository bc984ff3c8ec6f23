"""A bare aiohttp hop without any feature: what the same language pays for being in the way.

`python -m bench.hop UPSTREAM_URL` prints its port.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

_KEPT = ("authorization", "content-type", "accept")


class Hop:
    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        body = await request.read()
        async with self._session.post(self._upstream + request.path, data=body, headers=headers) as reply:
            if reply.content_length is not None:
                return web.Response(body=await reply.read(), status=reply.status, content_type=reply.content_type)
            return await self._relay(request, reply)

    async def _relay(self, request: web.Request, reply: aiohttp.ClientResponse) -> web.StreamResponse:
        answer = web.StreamResponse(status=reply.status, headers={"content-type": reply.content_type})
        await answer.prepare(request)
        async for data in reply.content.iter_any():
            await answer.write(data)
        await answer.write_eof()
        return answer


async def main(upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app = web.Application()
        app.router.add_post("/{path:.*}", Hop(upstream, session).handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
