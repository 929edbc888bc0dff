"""Check the TLS settings, certificates and keys of https plugins. Opens no connection."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from ...client.tls import client_context
from ...errors import SpecError
from ...protocol import Address, PluginSpec, TLSConfig
from ..shell import as_owner, edit, replace, shell_command
from .certificate_expiry import expiry_dates
from .context import CheckContext
from .diagnosis import Diagnosis, problem, warning

SOON = timedelta(days=14)


def check(context: CheckContext) -> Iterator[Diagnosis]:
    """Check the TLS settings of each plugin whose source can be used."""
    active = {handshake.spec.name for handshake in context.handshakes if handshake.error is None}
    for spec in context.specs:
        if not Address.parse(spec.address).tls:
            yield from _unused(spec)
        elif spec.tls is None:
            yield from [] if spec.name in active else _without_configuration(spec)
        else:
            yield from _configured(spec, spec.tls)


def _unused(spec: PluginSpec) -> Iterator[Diagnosis]:
    if spec.tls is not None:
        yield warning(
            spec.name,
            f"has an unused TLSConfig: its address is {spec.address}, and TLS needs https://",
            where=spec.source,
            remedy="correct the address or remove the TLSConfig",
            command=edit(spec.source),
        )


def _without_configuration(spec: PluginSpec) -> Iterator[Diagnosis]:
    """Yield a warning where Docker would not verify the certificate, while hosts do."""
    reason = "a .spec file cannot name another authority" if spec.source.endswith(".spec") else "it has no TLSConfig"
    target = spec.source.removesuffix(".spec").removesuffix(".json") + ".json"
    content = json.dumps({"Addr": spec.address, "TLSConfig": {"CAFile": "/path/to/ca.pem"}})
    yield warning(
        spec.name,
        f"needs a certificate that this system trusts: {reason} (Docker would not verify it)",
        where=spec.source,
        remedy="if its certificate is from another authority, name the authority in a .json file",
        command=replace(spec.source, target, content),
    )


def _configured(spec: PluginSpec, tls: TLSConfig) -> Iterator[Diagnosis]:
    if tls.insecure_skip_verify:
        yield warning(
            spec.name,
            "is not verified: with InsecureSkipVerify, anyone on the network path can impersonate it",
            where=spec.source,
            remedy="name the authority of its certificate in CAFile instead",
            command=edit(spec.source),
        )
    try:
        client_context(tls)
    except SpecError as wrong:
        yield _unusable(spec, tls, wrong)
    files = {"CAFile": "" if tls.insecure_skip_verify else tls.ca_file, "CertFile": tls.cert_file}
    for key, path in files.items():
        yield from _expiry(spec, key, path)
    yield from _key_permissions(spec, tls.key_file)


def _unusable(spec: PluginSpec, tls: TLSConfig, wrong: SpecError) -> Diagnosis:
    denied = isinstance(wrong.__cause__, PermissionError) and wrong.__cause__.filename
    if not denied:
        return problem(spec.name, str(wrong), where=spec.source, remedy="correct the file", command=edit(spec.source))
    if denied == tls.key_file:
        remedy, start = "make the host's user the owner of the key", 'chown "$(id -un)"'
    else:
        remedy, start = "certificates are not secret: make the file readable for all users", "chmod a+r"
    command = as_owner(shell_command(start, denied), denied)
    return problem(spec.name, str(wrong), where=spec.source, remedy=remedy, command=command)


def _expiry(spec: PluginSpec, key: str, path: str) -> Iterator[Diagnosis]:
    """Yield a diagnosis for each certificate in a file that has expired or expires soon."""
    now = datetime.now(timezone.utc)
    for expiry in expiry_dates(path):
        day = f"{expiry:%Y-%m-%d}"
        remedy = "replace it with a new one"
        if expiry < now:
            yield problem(spec.name, f"the certificate in {key} expired on {day}", where=path, remedy=remedy)
        elif expiry < now + SOON:
            yield warning(spec.name, f"the certificate in {key} expires on {day}", where=path, remedy=remedy)


def _key_permissions(spec: PluginSpec, path: str) -> Iterator[Diagnosis]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # no key, or reported by _unusable
        return
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        yield warning(
            spec.name,
            "its private key is readable for all users, who can impersonate this host",
            where=path,
            remedy="restrict access, and create a new key if another user may have read it",
            command=as_owner(shell_command("chmod o-rw", path), path),
        )
