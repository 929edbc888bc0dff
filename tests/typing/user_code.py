"""What users write, for type checkers: every subsystem from both ends. It is checked and never run."""

# ruff: noqa: B006, B008 - as users write it

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, TypeVar

import extframe
from extframe import (
    Authz,
    AuthzChain,
    AuthzRequest,
    AuthzResponse,
    Client,
    EndpointInterface,
    Interface,
    InterfaceName,
    IpamAddress,
    IpamDriver,
    IpamPool,
    JoinInfo,
    Key,
    LogCapability,
    LogDriver,
    LogEntry,
    LogInfo,
    Message,
    MetricsCollector,
    NetworkCapability,
    NetworkDriver,
    PluginManager,
    ReadConfig,
    Secret,
    SecretProvider,
    Volume,
    VolumeCapability,
    VolumeDriver,
    implements,
    rpc,
)

T = TypeVar("T")

# --- a host -------------------------------------------------------------------------------------------


def use_volumes(client: Client) -> None:
    volumes: VolumeDriver = VolumeDriver.remote(client, timeout=5.0)
    volumes.create("photos")
    volumes.create(name="photos", opts={"size": "1G"})
    path: str = volumes.mount("photos", id="c1")
    names: list[str] = [volume.name for volume in volumes.list()]
    made: datetime | None = volumes.get("photos").created
    scope: str = volumes.capabilities().scope
    volumes.unmount("photos", "c1")
    volumes.remove("photos")
    print(path, names, made, scope, volumes.path("photos"))


def use_networks(client: Client) -> None:
    networks = NetworkDriver.remote(client)
    capability: NetworkCapability = networks.get_capabilities()
    asked = EndpointInterface(address="10.0.0.2/24")
    endpoint: EndpointInterface = asked.completed(networks.create_endpoint("n", "e", asked))
    joined: JoinInfo = networks.join("n", "e", sandbox_key="/var/run/netns/x")
    name: InterfaceName | None = joined.interface_name
    about: dict[str, Any] = networks.endpoint_oper_info("n", "e")
    print(capability.scope, endpoint.mac_address, name.src_name if name else "", about)


def use_ipam(client: Client) -> None:
    ipam = IpamDriver.remote(client)
    pool: IpamPool = ipam.request_pool("local", v6=False)
    address: IpamAddress = ipam.request_address(pool.pool_id)
    ipam.release_address(pool.pool_id, address.address.partition("/")[0])


def use_authz(client: Client) -> bool:
    chain = AuthzChain({"policy": Authz.remote(client)})
    verdict: AuthzResponse = chain.check_request(AuthzRequest(request_method="GET", request_uri="/_ping"))
    return verdict.allow


def use_logs(client: Client) -> None:
    logs = LogDriver.remote(client)
    info = LogInfo(container_id="c1", container_env=["A=b"])
    logs.start_logging("/run/pipe", info)
    entries: Iterator[LogEntry] = logs.read_logs(info, ReadConfig(tail=10))
    for entry in entries:
        line: bytes = entry.line
        print(line, entry.time)
    with extframe.closing(logs.read_logs(info, ReadConfig(follow=True))) as following:
        first: LogEntry = next(following)
        print(first.source)
        following.close()
    with client.stream("LogDriver.ReadLogs", {"Config": {"Follow": True}}, follow=True) as records:
        records.close()


def use_metrics_and_secrets(client: Client) -> bytes:
    MetricsCollector.remote(client).start_metrics()
    secret: Secret = SecretProvider.remote(client).get_secret("password", task_name="web.1")
    return secret.value


def use_manager(manager: PluginManager) -> list[Volume]:
    return manager.driver("rclone", VolumeDriver).list()


# --- a plugin -----------------------------------------------------------------------------------------


class Directories(VolumeDriver):
    def create(self, name: str, opts: dict[str, str] = {}) -> None:
        print(name, opts)

    def remove(self, name: str) -> None: ...

    def mount(self, name: str, id: str) -> str:
        return f"/volumes/{name}"

    def unmount(self, name: str, id: str) -> None: ...

    def path(self, name: str) -> str:
        return f"/volumes/{name}"

    def get(self, name: str) -> Volume:
        return Volume(name=name, mountpoint=self.path(name), status={"size": 1})

    def capabilities(self) -> VolumeCapability:
        return VolumeCapability(scope="local")

    def list(self) -> list[Volume]:
        return [self.get("photos")]


class Bridges(NetworkDriver):
    def get_capabilities(self) -> NetworkCapability:
        return NetworkCapability(scope="local")

    def create_endpoint(
        self,
        network_id: str,
        endpoint_id: str,
        interface: EndpointInterface,
        options: dict[str, Any] | None = None,
    ) -> EndpointInterface:
        return EndpointInterface(mac_address="02:42:0a:00:00:02")


class Pools(IpamDriver):
    def request_pool(
        self,
        address_space: str,
        pool: str = "",
        sub_pool: str = "",
        options: dict[str, str] = {},
        v6: bool = False,
    ) -> IpamPool:
        return IpamPool(pool_id="p1", pool=pool or "10.0.0.0/24")


class ReadOnly(Authz):
    def authz_req(
        self,
        user: str = "",
        user_authn_method: str = "",
        request_method: str = "",
        request_uri: str = "",
        request_body: bytes = b"",
        request_headers: dict[str, str] = {},
        request_peer_certificates: list[bytes] = [],
    ) -> AuthzResponse:
        return AuthzResponse(allow=request_method == "GET", msg="read only")


class Memory(LogDriver):
    def capabilities(self) -> LogCapability:
        return LogCapability(read_logs=True)

    def start_logging(self, file: str, info: LogInfo) -> None:
        print(file, info.container_name, info.created)

    def read_logs(self, info: LogInfo, config: ReadConfig = ReadConfig()) -> Iterator[LogEntry]:
        yield LogEntry(source="stdout", line=b"hello\n")


class Collector(MetricsCollector):
    def start_metrics(self) -> None: ...


class Vault(SecretProvider):
    def get_secret(
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
        service_endpoint_spec: extframe.EndpointSpec | None = None,
    ) -> Secret:
        return Secret(value=b"s3cret", do_not_reuse=True)


@implements(VolumeDriver)
class AsyncDirectories:
    async def create(self, name: str, opts: dict[str, str] = {}) -> None:
        print(name, opts)


# --- an extension point -------------------------------------------------------------------------------


class Job(Message, frozen=True):
    id: str = ""
    done: bool = False


class Backup(Interface, implements="backup", prefix="BackupPlugin"):
    @rpc("Start", returns="Job", timeout=300.0)
    def start(self, path: str, level: Annotated[int, Key("Depth")] = 0) -> Job:
        raise NotImplementedError


def use_backup(client: Client) -> str:
    job: Job = Backup.remote(client).start("/home", level=1)
    return job.id


class StubClient:
    """Anything with ``call`` can stand for a client."""

    def call(
        self,
        method: str,
        arguments: object = None,
        *,
        reply: type[T],
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> T:
        raise NotImplementedError


def test_driver() -> VolumeDriver:
    return VolumeDriver.remote(StubClient())
