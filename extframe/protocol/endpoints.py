"""Where one instance of a plugin listens, how it is verified, and what a registry says about it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SpecError
from ..text import quoted

TLS_VERSIONS = {771: "TLSv1.2", 772: "TLSv1.3"}  # constants of Go's crypto/tls, as used in spec files


@dataclass(frozen=True)
class TLSConfig:
    """How an ``https://`` plugin is verified, and the host's client certificate. Paths are files on the host.

    Args:
        ca_file: PEM certificates to trust in addition to the system's.
        cert_file: the client certificate, PEM; requires ``key_file``.
        key_file: its private key, PEM; requires ``cert_file``.
        insecure_skip_verify: accept any certificate.
        exclusive_root_pools: trust only ``ca_file``.
        min_version: 771 for TLS 1.2 (0 means the same), 772 for TLS 1.3.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    exclusive_root_pools: bool = False
    min_version: int = 0

    def __post_init__(self) -> None:
        if bool(self.cert_file) != bool(self.key_file):
            missing = "KeyFile" if self.cert_file else "CertFile"
            raise SpecError(f"TLSConfig: {missing} is missing; CertFile and KeyFile are used together")
        if self.min_version and self.min_version not in TLS_VERSIONS:
            raise SpecError(f"TLSConfig: MinVersion is {self.min_version}; expected 771 (TLS 1.2) or 772 (TLS 1.3)")


@dataclass(frozen=True)
class Endpoint:
    """One instance of a plugin that has several.

    Args:
        address: where it listens, as `Address.parse` reads it.
        tls: how an ``https://`` address is verified; None for the defaults.
        zone: the failure domain in which it runs, for `SameZoneFirst`; "" if there is none.
        weight: its share of the calls in relation to the weights of the others; 1 or more.
        draining: whether it is about to stop. It is called only if no other instance is left.

    Raises:
        SpecError: the weight or the zone is invalid.
    """

    address: str
    tls: TLSConfig | None = None
    zone: str = ""
    weight: int = 1
    draining: bool = False

    def __post_init__(self) -> None:
        if type(self.weight) is not int or self.weight < 1:
            raise SpecError(f"the weight of {self.address} is {quoted(self.weight)}; expected a whole number from 1")
        if not isinstance(self.zone, str):
            raise SpecError(f"the zone of {self.address} is {quoted(self.zone)}; expected text")
