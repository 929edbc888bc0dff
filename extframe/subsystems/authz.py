"""Authz: plugins that allow or deny requests to a host's API. Knows the engine's rules for them; no transport."""

# ruff: noqa: B006 - defaults are declarations and are never mutated

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import msgspec

from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc
from ..logs import get_logger
from ..text import text_of
from .authz_http import Headers, common_name, is_body_shown, peer_certificates, shown_headers

if TYPE_CHECKING:
    from ssl import SSLObject, SSLSocket
else:
    from ..concurrency.late_types import late

    SSLObject = late("ssl", "SSLObject")
    SSLSocket = late("ssl", "SSLSocket")

__all__ = [
    "BODY_LIMIT",
    "Authz",
    "AuthzChain",
    "AuthzRequest",
    "AuthzResponse",
    "is_body_shown",
    "shown_headers",
]

logger = get_logger(__name__)

BODY_LIMIT = 4 * 1024 * 1024
"""The maximum size in bytes of a body that Docker 29 and later sends."""


class AuthzResponse(Message, frozen=True, omit_defaults=True):
    """A plugin's verdict.

    Args:
        allow: the verdict; always sent.
        msg: the reason for a denial, for the user.
        err: what went wrong. A plugin that returns it answers with status 500, so that the engine denies. For a host
            that receives it with status 200, it does not change the verdict in ``allow``, as in Docker.
    """

    allow: Annotated[bool, msgspec.Meta(extra_json_schema={"required": True})] = msgspec.field(default_factory=bool)
    msg: str = ""
    err: str = ""


class Authz(Interface, implements="authz", prefix="AuthZPlugin", lenient=True):
    """Verdicts on requests to a host's API and on the responses to them.

    The wire names ``AuthZReq`` and ``AuthZRes`` are ``authz_req`` and ``authz_res`` in Python. Docker sets no
    deadlines for these calls; the client's apply. Both calls are idempotent and may be retried.
    """

    __mirror__ = "extframe.subsystems.async_authz:AsyncAuthz"

    @rpc("AuthZReq", idempotent=True, omit_defaults=True)
    def authz_req(
        self,
        user: str = "",
        user_authn_method: Annotated[str, Key("UserAuthNMethod")] = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: Annotated[dict[str, str], Key(always=True)] = {},
        request_peer_certificates: list[bytes] = [],
    ) -> AuthzResponse:
        """Return whether a request may be executed.

        Args:
            user: the common name of the client's certificate.
            user_authn_method: ``TLS``; "" if the client was not authenticated.
            request_method: the HTTP method, ``GET`` for example.
            request_uri: path and query as the client sent them, not normalised.
            request_body: the body; Docker sends JSON bodies only. A plugin should deny a request whose body is
                missing although ``Content-Length`` is not 0: Docker up to version 28 omitted bodies over 1 MiB.
            request_headers: the headers, one value each. Docker omits those with credentials.
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
        request_headers: Annotated[dict[str, str], Key(always=True)] = {},
        request_peer_certificates: list[bytes] = [],
        response_status_code: int = 0,
        response_body: bytes = b"",
        response_headers: dict[str, str] = {},
    ) -> AuthzResponse:
        """Return whether the client may see the response to a request. The request has been executed already.

        The request's fields are the same as in ``authz_req``.

        Args:
            response_status_code: the response's status; 0 if the host has not set one.
            response_body: the response's body; JSON bodies only.
            response_headers: the response's headers, one value each.
        """
        raise NotImplementedError


# --- for hosts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AuthzRequest:
    """A request to a host's API, and its response once there is one. The fields are those of ``authz_res``."""

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

    @classmethod
    def from_http(
        cls,
        method: str,
        uri: str,
        headers: Headers,
        body: bytes = b"",
        *,
        tls: SSLObject | SSLSocket | None = None,
        user: str | None = None,
    ) -> AuthzRequest:
        """Return what Docker's engine shows plugins of an HTTP request.

        That are the bodies that `is_body_shown` allows and the headers that `shown_headers` returns. A body that is not
        shown does not count for the limit of a chain.

        Args:
            method: the HTTP method.
            uri: path and query as the client sent them.
            headers: the header fields, a mapping or pairs.
            body: the whole body.
            tls: the client's connection, if it uses TLS and was asked for a certificate: for the name and certificates
                of the client.
            user: the name of a client that was authenticated in another way; overrides that of its certificate.
        """
        certificates = peer_certificates(tls) if tls is not None else []
        name = common_name(tls) if tls is not None and certificates else ""
        return cls(
            user=name if user is None else user,
            user_authn_method="TLS" if certificates else "",
            request_method=method,
            request_uri=uri,
            request_body=body if is_body_shown(uri, headers) else b"",
            request_headers=shown_headers(headers),
            request_peer_certificates=certificates,
        )

    def with_response(self, status: int, headers: Headers, body: bytes = b"") -> AuthzRequest:
        """Return this request with its response, by the rules of `from_http`.

        Docker's engine shows of a response what it still has in its buffer, 64 KiB at most; this shows the whole body.

        Args:
            status: the HTTP status; 0 if none was set.
            headers: the header fields, a mapping or pairs.
            body: the whole body.
        """
        return replace(
            self,
            response_status_code=status,
            response_headers=shown_headers(headers, of_response=True),
            response_body=body if is_body_shown(self.request_uri, headers) else b"",
        )


class AuthzChain:
    """Several authorization plugins, all of which must allow a request.

    They are called in order until one denies. A plugin that fails denies. A body over the limit is denied without
    calling any plugin, because a plugin cannot judge a body that it does not see in full.

    >>> class ReadOnly(Authz):  # in a host: pm.driver("policy", Authz)
    ...     def authz_req(self, **request):
    ...         return AuthzResponse(allow=request["request_method"] == "GET", msg="read only")
    >>> chain = AuthzChain({"policy": ReadOnly()})
    >>> request = AuthzRequest.from_http("POST", "/v1.41/volumes/create", {"Content-Type": "application/json"}, b"{}")
    >>> chain.check_request(request)
    AuthzResponse(allow=False, msg='authorization denied by plugin policy: read only', err='')

    Args:
        plugins: the drivers by name; denials contain the name.
        body_limit: the maximum size in bytes of a request's or a response's body.
    """

    def __init__(self, plugins: Mapping[str, Authz], *, body_limit: int = BODY_LIMIT) -> None:
        self._plugins = dict(plugins)
        self._body_limit = body_limit

    def check_request(self, request: AuthzRequest) -> AuthzResponse:
        """Return the verdict of all plugins on a request, before it is executed."""
        known = {name: value for name, value in vars(request).items() if not name.startswith("response_")}
        return self._ask(lambda plugin: plugin.authz_req(**known), request.request_body)

    def check_response(self, request: AuthzRequest) -> AuthzResponse:
        """Return the verdict of all plugins on the response to a request. If denied, do not show the response."""
        known = vars(request)
        return self._ask(lambda plugin: plugin.authz_res(**known), request.request_body, request.response_body)

    def _ask(self, question: Callable[[Authz], AuthzResponse], *bodies: bytes) -> AuthzResponse:
        size = max(len(body) for body in bodies)
        if self._plugins and size > self._body_limit:
            return _denial(f"the body has {size} bytes, and authorization plugins see at most {self._body_limit}")
        for name, plugin in self._plugins.items():
            try:
                verdict = _verdict(question(plugin))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the plugin has not allowed this
                words = text_of(error)
                logger.warning("authorization plugin %s failed: %s", name, words)
                return _denial(f"plugin {name} failed with error: {words}")
            if not verdict.allow:
                return _denial(f"authorization denied by plugin {name}: {verdict.msg or verdict.err}")
        return AuthzResponse(allow=True)


def _verdict(verdict: object) -> AuthzResponse:
    if not isinstance(verdict, AuthzResponse):
        raise TypeError(f"expected AuthzResponse, got {verdict!r:.100}")
    return verdict


def _denial(words: str) -> AuthzResponse:
    return AuthzResponse(allow=False, msg=words)
