"""Announce a plugin by a spec file in a directory that hosts read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from ..logs import get_logger
from ..protocol import Address, Endpoint, TLSConfig
from .sockets import OwnFile
from .unix_socket import make_directory

logger = get_logger(__name__)


class SpecFile:
    """A `Registrar` that writes ``NAME.spec`` or, for TLS, ``NAME.json``.

    Args:
        directory: where; it is created if it is missing.
        tls: how hosts verify the plugin, and which certificate they present to it.
    """

    def __init__(self, directory: Path, tls: TLSConfig | None = None) -> None:
        self._directory = directory
        self._tls = tls
        self.file: OwnFile | None = None
        """The file, while there is one."""

    def announce(self, name: str, endpoint: Endpoint) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        address = Address.parse(endpoint.address)
        if not address.tls:
            self.file = _write(self._directory / f"{name}.spec", f"{address}\n".encode())
            return
        # For a .spec, Docker's engine does not verify the certificate (moby pkg/plugins/discovery.go).
        spec: dict[str, object] = {"Name": name, "Addr": str(address)}
        if self._tls is not None:
            spec["TLSConfig"] = _HostTLS(**vars(self._tls))
        if (self._directory / f"{name}.spec").exists():
            logger.warning("%s hides %s.json: hosts read it first", self._directory / f"{name}.spec", name)
        content = msgspec.json.format(msgspec.json.encode(spec)) + b"\n"
        self.file = _write(self._directory / f"{name}.json", content)

    def drain(self) -> None:
        """Do nothing: a spec file has no mark for an instance that is about to stop."""

    def withdraw(self) -> None:
        """Remove the file, unless another process has replaced it."""
        if self.file is not None:
            self.file.remove()
            self.file = None


class _HostTLS(msgspec.Struct, rename="pascal", omit_defaults=True):
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0


def _write(path: Path, content: bytes) -> OwnFile:
    """Write a file atomically."""
    make_directory(path.parent)
    # Without the suffix .spec or .json, hosts do not take it for a plugin.
    import tempfile  # here, as it is slow to import, and the sockets that a host passes need no file

    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException as wrong:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        if isinstance(wrong, OSError):
            wrong.filename = str(path)
        raise
    return OwnFile(path)
