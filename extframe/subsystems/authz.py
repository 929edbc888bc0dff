"""Authz: plugins that allow or deny the requests to a host's API. Knows the engine's rules for it; no transport."""

# ruff: noqa: B006 - a default declares what is sent; nothing changes one

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc
from ..logs import get_logger
from ..text import text_of

logger = get_logger(__name__)

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes; what Docker sends at most, from version 29 on."""


class AuthzResponse(Message, frozen=True, omit_defaults=True):
    """A plugin's verdict.

    Args:
        allow: the one field that decides; always sent.
        msg: why not, for the user.
        err: what went wrong. Beside ``allow`` it changes nothing, as in Docker: a plugin that fails
            raises an error.
    """

    allow: bool = msgspec.field(default_factory=bool)
    msg: str = ""
    err: str = ""


class Authz(Interface, implements="authz", prefix="AuthZPlugin"):
    """Verdicts on the requests to a host's API, and on the answers to them.

    The methods, ``AuthZReq`` and ``AuthZRes`` on the wire, are written ``authz_req`` and ``authz_res``.
    Docker sets no deadlines here; ours are the client's. Asking twice does no harm, so it may be done.
    """

    @rpc("AuthZReq", idempotent=True, omit_defaults=True)
    def authz_req(
        self,
        user: str = "",
        user_authn_method: Annotated[str, Key("UserAuthNMethod")] = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: dict[str, str] = {},
        request_peer_certificates: list[bytes] = [],
    ) -> AuthzResponse:
        """Return whether a request may be carried out.

        Args:
            user: the common name of the client's certificate.
            user_authn_method: ``TLS``, or "" where nobody was identified.
            request_method: ``GET`` and so on.
            request_uri: path and query as the client sent them, not normalised.
            request_body: Docker sends it for JSON only. A plugin denies when it is missing although
                ``Content-Length`` says otherwise: up to version 28 Docker left out bodies of 1 MiB.
            request_headers: one value each. Docker leaves out those with credentials.
            request_peer_certificates: the client's certificates, PEM.
        """
        raise NotImplementedError

    @rpc("AuthZRes", idempotent=True, omit_defaults=True)
    def authz_res(
        self,
        user: str = "",
        user_authn_method: Annotated[str, Key("UserAuthNMethod")] = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: dict[str, str] = {},
        request_peer_certificates: list[bytes] = [],
        response_status_code: int = 0,
        response_body: bytes = b"",
        response_headers: dict[str, str] = {},
    ) -> AuthzResponse:
        """Return whether the answer to a request may be seen; what was asked for is done by then.

        The request comes along as it was in ``authz_req``.

        Args:
            response_status_code: of the answer; 0 where the host has set none.
            response_body: of the answer, for JSON only.
            response_headers: of the answer, one value each.
        """
        raise NotImplementedError


# --- what a host does with it -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AuthzRequest:
    """A request to a host's API, with its answer once there is one. The fields are those of ``authz_res``."""

    user: str = ""
    user_authn_method: str = ""
    request_method: str = ""
    request_uri: str = ""
    request_body: bytes = b""
    request_headers: dict[str, str] = field(default_factory=dict)
    request_peer_certificates: list[bytes] = field(default_factory=list)
    response_status_code: int = 0
    response_body: bytes = b""
    response_headers: dict[str, str] = field(default_factory=dict)


class AuthzChain:
    """Several authz plugins, all of which must allow.

    They are asked in their order until one denies. A plugin that fails denies. A body over the limit is
    denied and nobody is asked: a plugin that cannot see all of it cannot judge it.

    >>> class ReadOnly(Authz):  # a host has pm.driver("policy", Authz) in its place
    ...     def authz_req(self, **request):
    ...         return AuthzResponse(allow=request["request_method"] == "GET", msg="read only")
    >>> chain = AuthzChain({"policy": ReadOnly()})
    >>> chain.check_request(AuthzRequest(request_method="POST", request_uri="/v1.41/volumes/create"))
    AuthzResponse(allow=False, msg='authorization denied by plugin policy: read only', err='')

    Args:
        plugins: the drivers, by the name that denials give.
        body_limit: bytes of a request's or an answer's body.
    """

    def __init__(self, plugins: Mapping[str, Authz], *, body_limit: int = BODY_LIMIT) -> None:
        self._plugins = dict(plugins)
        self._body_limit = body_limit

    def check_request(self, request: AuthzRequest) -> AuthzResponse:
        """Return the verdict of all plugins on a request, before it is carried out."""
        known = {name: value for name, value in vars(request).items() if not name.startswith("response_")}
        return self._ask(lambda plugin: plugin.authz_req(**known), request.request_body)

    def check_response(self, request: AuthzRequest) -> AuthzResponse:
        """Return the verdict of all plugins on the answer to a request: deny, and it is not to be shown."""
        known = vars(request)
        return self._ask(lambda plugin: plugin.authz_res(**known), request.request_body, request.response_body)

    def _ask(self, question: Callable[[Authz], AuthzResponse], *bodies: bytes) -> AuthzResponse:
        size = max(len(body) for body in bodies)
        if self._plugins and size > self._body_limit:
            return _denial(f"the body has {size} bytes, and authorization plugins see at most {self._body_limit}")
        for name, plugin in self._plugins.items():
            try:
                verdict = question(plugin)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody has allowed the request
                words = text_of(error)
                logger.warning("authorization plugin %s failed: %s", name, words)
                return _denial(f"plugin {name} failed with error: {words}")
            if not verdict.allow:
                return _denial(f"authorization denied by plugin {name}: {verdict.msg or verdict.err}")
        return AuthzResponse(allow=True)


def _denial(words: str) -> AuthzResponse:
    return AuthzResponse(allow=False, msg=words)
