"""A web service that creates and mounts volumes of any volume plugin, such as rclone's, and reports what plugins do.

Run it with ``PLUGIN_DIR=plugins uvicorn app:app``. It needs ``pip install extframe starlette uvicorn``.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import extframe

MOUNT_ID = "volume-service"


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Own a manager, and watch the directory, as long as the application runs."""
    directory = os.environ.get("PLUGIN_DIR")
    registry = extframe.LocalRegistry(directory) if directory else extframe.LocalRegistry()
    async with extframe.AsyncPluginManager(registry, timeout=30.0) as plugins, plugins.watch():
        app.state.plugins = plugins
        yield


async def driver(request: Request) -> extframe.AsyncVolumeDriver:
    """Return the driver of the plugin that the path names. It waits a moment for a plugin that is starting."""
    plugins: extframe.AsyncPluginManager = request.app.state.plugins
    return await plugins.driver(request.path_params["plugin"], extframe.AsyncVolumeDriver, wait=2.0, timeout=10.0)


async def volumes(request: Request) -> Response:
    """GET /volumes: the volumes of all plugins, by plugin."""
    plugins: extframe.AsyncPluginManager = request.app.state.plugins
    drivers = await plugins.drivers(extframe.AsyncVolumeDriver, timeout=5.0)
    return JSONResponse({name: [volume.name for volume in await each.list()] for name, each in drivers.items()})


async def create(request: Request) -> Response:
    """PUT /volumes/PLUGIN/VOLUME: create a volume; the body is a JSON object with the plugin's options."""
    options = await request.json()
    await (await driver(request)).create(request.path_params["volume"], options)
    return Response(status_code=201)


async def remove(request: Request) -> Response:
    """DELETE /volumes/PLUGIN/VOLUME."""
    await (await driver(request)).remove(request.path_params["volume"])
    return Response(status_code=204)


async def mount(request: Request) -> Response:
    """POST /volumes/PLUGIN/VOLUME/mount: mount a volume and return its path."""
    path = await (await driver(request)).mount(request.path_params["volume"], id=MOUNT_ID)
    return JSONResponse({"path": path})


async def unmount(request: Request) -> Response:
    """DELETE /volumes/PLUGIN/VOLUME/mount."""
    await (await driver(request)).unmount(request.path_params["volume"], id=MOUNT_ID)
    return Response(status_code=204)


async def events(request: Request) -> Response:
    """GET /events: what happens to plugins from now on, as lines of JSON."""
    plugins: extframe.AsyncPluginManager = request.app.state.plugins

    async def lines() -> AsyncIterator[str]:
        async with plugins.watch() as happening:
            yield json.dumps({"plugins": await plugins.scan()}) + "\n"
            async for event in happening:
                yield json.dumps({"kind": event.kind, "plugin": event.name, "reason": event.reason}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def failure(request: Request, error: Exception) -> Response:
    """Return the plugin's own words, and a status that says whose fault it is."""
    statuses = {
        extframe.PluginNotFound: 404,
        extframe.DoesNotImplement: 404,
        extframe.SpecError: 404,
        extframe.PluginUnavailable: 503,
        extframe.CallTimeout: 504,
    }
    status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 502)
    if isinstance(error, extframe.RemoteError) and error.not_found:
        status = 404
    return JSONResponse({"error": str(error)}, status_code=status)


app = Starlette(
    lifespan=lifespan,
    exception_handlers={extframe.ExtframeError: failure},
    routes=[
        Route("/volumes", volumes),
        Route("/volumes/{plugin}/{volume}", create, methods=["PUT"]),
        Route("/volumes/{plugin}/{volume}", remove, methods=["DELETE"]),
        Route("/volumes/{plugin}/{volume}/mount", mount, methods=["POST"]),
        Route("/volumes/{plugin}/{volume}/mount", unmount, methods=["DELETE"]),
        Route("/events", events),
    ],
)
