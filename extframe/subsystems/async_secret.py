"""The async mirror of SecretProvider, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from ..interface.async_interface import AsyncInterface
from .secret import EndpointSpec, Secret, SecretProvider


class AsyncSecretProvider(AsyncInterface, mirrors=SecretProvider):
    """The async mirror of `SecretProvider`: the base of async plugins and the type of async drivers."""

    async def get_secret(
        self,
        secret_name: str,
        secret_labels: dict[str, str] = {},
        service_hostname: str = "",
        service_id: str = "",
        service_name: str = "",
        service_labels: dict[str, str] = {},
        task_id: str = "",
        task_name: str = "",
        task_image: str = "",
        node_id: str = "",
        service_endpoint_spec: EndpointSpec | None = None,
    ) -> Secret:
        raise NotImplementedError
