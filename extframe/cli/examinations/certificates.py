"""TLS of https plugins, as their files ask for it: certificates, keys, and what is not verified. Contacts nobody."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from ...client.tls import client_context
from ...errors import SpecError
from ...protocol import Address, PluginSpec, TLSConfig
from .case import Case
from .commands import as_owner, as_writer, edit, quoted
from .diagnosis import Diagnosis, problem, warning
from .validity import ends_of_validity

SOON = timedelta(days=14)


def examine(case: Case) -> Iterator[Diagnosis]:
    """Examine the TLS of each plugin whose file could be read."""
    answered = {visit.spec.name for visit in case.visits if visit.error is None}
    for spec in case.specs:
        if not Address.parse(spec.address).tls:
            yield from _unused(spec)
        elif spec.tls is None:
            yield from [] if spec.name in answered else _without_configuration(spec)
        else:
            yield from _configured(spec, spec.tls)


def _unused(spec: PluginSpec) -> Iterator[Diagnosis]:
    if spec.tls is not None:
        yield warning(
            spec.name,
            f"has a TLSConfig that is not used: TLS is for https://, and its address is {spec.address}",
            where=spec.source,
            remedy="correct one or the other:",
            command=edit(spec.source),
        )


def _without_configuration(spec: PluginSpec) -> Iterator[Diagnosis]:
    """Tell of what Docker accepts unverified, and a host does not."""
    where = "a .spec file cannot name another authority" if spec.source.endswith(".spec") else "it has no TLSConfig"
    target = spec.source.removesuffix(".spec").removesuffix(".json") + ".json"
    content = json.dumps({"Addr": spec.address, "TLSConfig": {"CAFile": "/path/to/ca.pem"}})
    written = f"echo {quoted(content)} > {quoted(target)}"
    removed = "" if target == spec.source else f" && rm {quoted(spec.source)}"
    yield warning(
        spec.name,
        f"must show a certificate that this system trusts: {where} (Docker would verify nothing)",
        where=spec.source,
        remedy="if it has a certificate of its own, say in a .json file who signed it:",
        command=as_writer(written + removed, os.path.dirname(spec.source)),
    )


def _configured(spec: PluginSpec, tls: TLSConfig) -> Iterator[Diagnosis]:
    if tls.insecure_skip_verify:
        yield warning(
            spec.name,
            "is not verified: InsecureSkipVerify accepts any certificate, so that anybody on the way can be the plugin",
            where=spec.source,
            remedy="name who signed its certificate, in CAFile, instead:",
            command=edit(spec.source),
        )
    try:
        client_context(tls)
    except SpecError as wrong:
        yield _unusable(spec, tls, wrong)
    files = {"CAFile": "" if tls.insecure_skip_verify else tls.ca_file, "CertFile": tls.cert_file}
    for key, path in files.items():
        yield from _validity(spec, key, path)
    yield from _secrecy(spec, tls.key_file)


def _unusable(spec: PluginSpec, tls: TLSConfig, wrong: SpecError) -> Diagnosis:
    denied = isinstance(wrong.__cause__, PermissionError) and wrong.__cause__.filename
    if not denied:
        return problem(spec.name, str(wrong), where=spec.source, remedy="correct it:", command=edit(spec.source))
    is_key = denied == tls.key_file
    return problem(
        spec.name,
        str(wrong),
        where=spec.source,
        remedy="give the key to the host's user:" if is_key else "certificates are no secret; let every user read it:",
        command=as_owner(f'chown "$(id -un)" {quoted(denied)}' if is_key else f"chmod a+r {quoted(denied)}", denied),
    )


def _validity(spec: PluginSpec, key: str, path: str) -> Iterator[Diagnosis]:
    """Tell of certificates that have expired, or are about to; of several authorities each on its own."""
    now = datetime.now(timezone.utc)
    for end in ends_of_validity(path):
        day = f"{end:%Y-%m-%d}"
        remedy = "get a new one, and put it there"
        if end < now:
            yield problem(spec.name, f"the certificate in {key} expired on {day}", where=path, remedy=remedy)
        elif end < now + SOON:
            yield warning(spec.name, f"the certificate in {key} expires on {day}", where=path, remedy=remedy)


def _secrecy(spec: PluginSpec, path: str) -> Iterator[Diagnosis]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # none, or told already
        return
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        yield warning(
            spec.name,
            "every user may read its private key, and be this host for the plugin",
            where=path,
            remedy="keep it from them; if others may have read it, have a new one made:",
            command=as_owner(f"chmod o-rw {quoted(path)}", path),
        )
