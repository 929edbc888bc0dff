"""Make calls to a hung plugin at once: ``hung_calls.py ADDRESS CALLS SECONDS``; print memory and lateness."""

import asyncio
import json
import os
import resource
import sys
import time
from contextlib import suppress

import uvloop

from extframe import AsyncClient, CallTimeout


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main(address: str, calls: int, seconds: float) -> None:
    """Start all calls in one step, and measure shortly before their deadline, and when the last one has ended."""
    async with AsyncClient(address) as client:

        async def call() -> None:
            try:
                await client.call("VolumeDriver.Get", {"Name": "photos"}, timeout=seconds)
            except CallTimeout:
                return
            raise RuntimeError("a hung plugin has answered")

        with suppress(CallTimeout):  # imports
            await client.call("VolumeDriver.Get", timeout=0.1)
        before = resident()
        tasks = [asyncio.ensure_future(call()) for _ in range(calls)]
        await asyncio.sleep(0)  # each call has begun, and its deadline is fixed
        deadline = time.monotonic() + seconds
        await asyncio.sleep(seconds * 0.8)
        memory, descriptors = resident() - before, len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*tasks)
        late = time.monotonic() - deadline
    print(json.dumps({"memory": memory, "late": late, "descriptors": descriptors}))


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
uvloop.new_event_loop().run_until_complete(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
