"""Make the handshake with every plugin of a directory at once, in one event loop; print how long that takes."""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from extframe import AsyncClient, ConnectionPool


async def main(directory: str) -> None:
    """Make one call with each of as many clients as there are sockets; the clients share their connections' limit."""
    pool = ConnectionPool()
    clients = [AsyncClient(f"unix://{path}", pool=pool) for path in Path(directory).iterdir()]
    started = time.perf_counter_ns()
    found = await asyncio.gather(*(client.call("Plugin.Activate", idempotent=True) for client in clients))
    elapsed = time.perf_counter_ns() - started
    print(json.dumps({"ns": elapsed, "found": sum(each["Implements"] == ["VolumeDriver"] for each in found)}))
    for client in clients:
        await client.aclose()


uvloop.new_event_loop().run_until_complete(main(sys.argv[1]))
