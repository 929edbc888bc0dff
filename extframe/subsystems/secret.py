"""SecretProvider: plugins that provide the values of secrets. The messages and the interface; no transport."""

# ruff: noqa: B006, RUF012 - defaults are declarations and are never mutated

from __future__ import annotations

from typing import Annotated

from ..interface.declarations import Interface
from ..interface.messages import Message
from ..interface.methods import Key, rpc


class PortConfig(Message, frozen=True, omit_defaults=True):
    """A published port of a service.

    Args:
        name: the port's name.
        protocol: 0 for TCP, 1 for UDP, 2 for SCTP.
        target_port: the port inside the container.
        published_port: the port outside the container.
        publish_mode: 0 for ingress (through any node), 1 for host (on the node that runs the task).
    """

    name: str = ""
    protocol: int = 0
    target_port: int = 0
    published_port: int = 0
    publish_mode: int = 0


class EndpointSpec(Message, frozen=True, omit_defaults=True):
    """How clients reach a service.

    Args:
        mode: 0 for one virtual IP address for all tasks, 1 for DNS round robin over the tasks' addresses.
        ports: the published ports.
    """

    mode: int = 0
    ports: list[PortConfig] = []


class Secret(Message, frozen=True, omit_defaults=True):
    """The value of a secret. Its repr does not show it.

    Args:
        value: the bytes of the secret; base64 on the wire.
        do_not_reuse: the value is for this task only.
    """

    value: bytes = b""
    do_not_reuse: bool = False

    def __repr__(self) -> str:
        return f"Secret(value=<{len(self.value)} bytes>, do_not_reuse={self.do_not_reuse})"


class SecretProvider(Interface, implements="secretprovider", prefix="SecretProvider", lenient=True):
    """Provides the values of secrets to the tasks of a swarm. Docker sets no deadline; the client's applies."""

    __mirror__ = "extframe.subsystems.async_secret:AsyncSecretProvider"

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
        """Return the value of a secret for one task. Not retried, because a plugin may create a new value per call.

        Args:
            secret_name: the secret's name.
            secret_labels: the secret's labels.
            service_hostname: the hostname of the service's tasks.
            service_id: the ID of the service that uses the secret.
            service_name: the service's name.
            service_labels: the service's labels.
            task_id: the ID of the task that needs the secret.
            task_name: the task's name.
            task_image: the task's image.
            node_id: the ID of the node that the task runs on.
            service_endpoint_spec: how clients reach the service.
        """
        raise NotImplementedError
