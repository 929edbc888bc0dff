"""TLS for servers: the certificate, and which clients are let in."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass

from ..concurrency.system import OPEN_AT_ONCE
from ..errors import SpecError
from ..protocol import check_path


@dataclass(frozen=True)
class ServerTLS:
    """A plugin's certificate, and the authority whose clients it lets in. Paths are files of the plugin.

    Args:
        cert_file: the certificate and its intermediate certificates, PEM.
        key_file: its private key, PEM, not encrypted.
        client_ca_file: certificates, PEM, one of which must have signed a client's; "" lets all clients in.
    """

    cert_file: str
    key_file: str
    client_ca_file: str = ""


def server_context(tls: ServerTLS) -> ssl.SSLContext:
    """Return the context for ``tls``, whose files are read now. TLS 1.2 at least.

    Raises:
        SpecError: a file holds something else, or the key is encrypted.
        OSError: a file cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in (tls.cert_file, tls.key_file):
        _check_readable(path)

    def refuse_password() -> str:  # without it OpenSSL asks on the terminal
        raise SpecError(f"key_file {tls.key_file}: the key is encrypted; expected one without a password")

    try:
        context.load_cert_chain(tls.cert_file, tls.key_file, refuse_password)
    except ssl.SSLError as wrong:
        files = f"cert_file {tls.cert_file} and key_file {tls.key_file}"
        raise SpecError(f"{files}: not a certificate and its key in PEM form: {_reason(wrong)}") from wrong
    if tls.client_ca_file:
        _check_readable(tls.client_ca_file)
        try:
            context.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as wrong:
            message = f"client_ca_file {tls.client_ca_file}: no certificates in PEM form: {_reason(wrong)}"
            raise SpecError(message) from wrong
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(path: str) -> None:
    # OpenSSL's errors do not name the path, and it would read a FIFO for ever.
    descriptor = os.open(check_path(path), os.O_RDONLY | OPEN_AT_ONCE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SpecError(f"{path}: not a regular file; expected a file in PEM form")
    finally:
        os.close(descriptor)


def _reason(fault: ssl.SSLError) -> str:
    return fault.reason or fault.strerror or str(fault)
