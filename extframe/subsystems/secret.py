"""SecretProvider: plugins that keep the values of secrets. Knows their messages; no transport."""

# ruff: noqa: B006, RUF012 - a default declares what is sent; nothing changes one

from __future__ import annotations

from typing import Annotated

from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc


class PortConfig(Message, frozen=True, omit_defaults=True):
    """A port of a service.

    Args:
        name: its name.
        protocol: 0 TCP, 1 UDP, 2 SCTP.
        target_port: inside.
        published_port: outside.
        publish_mode: 0 by way of any node, 1 on the node itself.
    """

    name: str = ""
    protocol: int = 0
    target_port: int = 0
    published_port: int = 0
    publish_mode: int = 0


class EndpointSpec(Message, frozen=True, omit_defaults=True):
    """How a service is reached.

    Args:
        mode: 0 at one address for all its tasks, 1 at theirs, by DNS.
        ports: what it publishes.
    """

    mode: int = 0
    ports: list[PortConfig] = []


class Secret(Message, frozen=True, omit_defaults=True):
    """The value of a secret. Its repr does not show it.

    Args:
        value: bytes; base64 on the wire.
        do_not_reuse: it is for this task alone.
    """

    value: bytes = b""
    do_not_reuse: bool = False

    def __repr__(self) -> str:
        return f"Secret(value=<{len(self.value)} bytes>, do_not_reuse={self.do_not_reuse})"


class SecretProvider(Interface, implements="secretprovider", prefix="SecretProvider"):
    """Values of secrets, for the tasks of a swarm. Docker sets no deadline here; ours is the client's."""

    @rpc("GetSecret", omit_defaults=True)
    def get_secret(
        self,
        secret_name: str,
        secret_labels: dict[str, str] = {},
        service_hostname: str = "",
        service_id: Annotated[str, Key("ServiceID")] = "",
        service_name: str = "",
        service_labels: dict[str, str] = {},
        task_id: Annotated[str, Key("TaskID")] = "",
        task_name: str = "",
        task_image: str = "",
        node_id: Annotated[str, Key("NodeID")] = "",
        service_endpoint_spec: EndpointSpec | None = None,
    ) -> Secret:
        """Return the value of a secret for one task. A plugin may make a new value each time, so it is not repeated.

        Args:
            secret_name: the secret.
            secret_labels: its labels.
            service_hostname: the hostname that the service's tasks have.
            service_id: the service that uses it.
            service_name: its name.
            service_labels: its labels.
            task_id: the task that needs it.
            task_name: its name.
            task_image: its image.
            node_id: the node that the task runs on.
            service_endpoint_spec: how the service is reached.
        """
        raise NotImplementedError
