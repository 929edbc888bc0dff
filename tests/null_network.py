"""A network plugin that does nothing, and says what it was asked: for the engine to activate and call."""

from __future__ import annotations

import argparse
from typing import Any

from extframe.interface import implements
from extframe.server import serve
from extframe.subsystems.network import EndpointInterface, JoinInfo, NetworkCapability, NetworkDriver


@implements(NetworkDriver)
class NullNetwork:
    async def get_capabilities(self) -> NetworkCapability:
        return NetworkCapability(scope="local")

    async def create_network(self, network_id: str, **others: Any) -> None:
        print("create", network_id, flush=True)

    async def delete_network(self, network_id: str) -> None:
        print("delete", network_id, flush=True)

    async def create_endpoint(self, **asked: Any) -> EndpointInterface:
        return EndpointInterface()

    async def endpoint_oper_info(self, **asked: Any) -> dict[str, Any]:
        return {}

    async def delete_endpoint(self, **asked: Any) -> None:
        pass

    async def join(self, **asked: Any) -> JoinInfo:
        return JoinInfo()

    async def leave(self, **asked: Any) -> None:
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    parser.add_argument("--directory")
    options = parser.parse_args()
    serve(NullNetwork(), name=options.name, directory=options.directory)
