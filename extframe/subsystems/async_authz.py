"""The async mirror of Authz, written by ``python -m extframe.interface.mirror``. Knows no transport."""

from __future__ import annotations

from ..interface.async_interface import AsyncInterface
from .authz import Authz, AuthzResponse


class AsyncAuthz(AsyncInterface, mirrors=Authz):
    """The async mirror of `Authz`: the base of async plugins and the type of async drivers."""

    async def authz_req(
        self,
        user: str = "",
        user_authn_method: str = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: dict[str, str] = {},
        request_peer_certificates: list[bytes] = [],
    ) -> AuthzResponse:
        raise NotImplementedError

    async def authz_res(
        self,
        user: str = "",
        user_authn_method: str = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: dict[str, str] = {},
        request_peer_certificates: list[bytes] = [],
        response_status_code: int = 0,
        response_body: bytes = b"",
        response_headers: dict[str, str] = {},
    ) -> AuthzResponse:
        raise NotImplementedError
