"""TLS for https plugins: contexts from a spec's TLSConfig, connections, error messages. Knows no HTTP.

Certificates are verified unless the spec says ``InsecureSkipVerify``. Docker's engine differs (moby
``pkg/plugins/discovery.go``): it verifies nothing for a ``.spec`` file, and for a ``.json`` whose ``TLSConfig``
has no ``CAFile``. A plugin with a certificate of its own that works there needs a ``.json`` here, with either.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat

from ..concurrency.system import OPEN_AT_ONCE, READABLE, WRITABLE
from ..errors import CallTimeout, ConnectError, ConnectionLost, SpecError
from ..protocol import TLSConfig
from .connection import ClosedWhenCollected, Connection
from .steps import Ready, Steps, run

HANDSHAKE = "TLS handshake"


# --- contexts -----------------------------------------------------------------------------------------


class _TLSSocket(ClosedWhenCollected, ssl.SSLSocket):
    """The socket of a TLS connection."""


def client_context(config: TLSConfig | None) -> ssl.SSLContext:
    """Return the context for a plugin's ``TLSConfig``, whose files are read now; the system's trust where None.

    TLS 1.2 at least. The certificate must be for the host of the address, a name or a number, by its subjectAltName:
    the common name does not count, as in Go.

    Raises:
        SpecError: a file cannot be read or holds something else; the message has its key and path.
    """
    config = config or TLSConfig()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TLSSocket
    context.minimum_version = ssl.TLSVersion(config.min_version or ssl.TLSVersion.TLSv1_2)
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, config)
    if config.cert_file:
        _show(context, config)
    return context


def _trust(context: ssl.SSLContext, config: TLSConfig) -> None:
    # As in Go, certificates in CAFile are trusted as they are, also an intermediate's or a plugin's own.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.hostname_checks_common_name = False  # as in Go since 1.15, so that both refuse the same plugins
    if not config.exclusive_root_pools:
        context.load_default_certs()
    if config.ca_file:
        _check_readable("CAFile", config.ca_file)
        try:
            context.load_verify_locations(config.ca_file)
        except ssl.SSLError as wrong:
            raise SpecError(f"CAFile {config.ca_file}: no certificates in PEM form: {_reason(wrong)}") from wrong


def _show(context: ssl.SSLContext, config: TLSConfig) -> None:
    _check_readable("CertFile", config.cert_file)
    _check_readable("KeyFile", config.key_file)

    def refuse_password() -> str:  # without it OpenSSL asks on the terminal
        raise SpecError(f"KeyFile {config.key_file}: the key is encrypted; expected one without a password")

    try:
        context.load_cert_chain(config.cert_file, config.key_file, refuse_password)
    except ssl.SSLError as wrong:
        files = f"CertFile {config.cert_file} and KeyFile {config.key_file}"
        raise SpecError(f"{files}: no certificate and its key in PEM form: {_reason(wrong)}") from wrong


def _check_readable(key: str, path: str) -> None:
    # OpenSSL's own errors for a missing file name neither key nor path; and it would read a FIFO or /dev/zero for ever.
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            file.read(1)
    except (OSError, ValueError) as wrong:
        raise SpecError(f"{key} {path}: {getattr(wrong, 'strerror', None) or wrong}") from wrong
    if not stat.S_ISREG(mode):
        raise SpecError(f"{key} {path}: it is a device or a FIFO; expected a file in PEM form")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | OPEN_AT_ONCE)


# --- connections --------------------------------------------------------------------------------------


class TLSConnection(Connection):
    """A `Connection` with TLS on it. Made by `handshake`.

    A read takes a whole record, which has 16 KiB at most: OpenSSL keeps nothing back that poll would not see.
    """

    __slots__ = ("_answered", "cut")
    _socket: ssl.SSLSocket

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.cut = False
        self._answered = False

    def _read(self, size: int) -> bytes | None:
        try:
            data = self._socket.recv(size)
            self._answered = True
            return data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            self.cut = True
            return b""
        except ssl.SSLError as wrong:
            if not self._answered and _is_refusal(wrong):
                raise ConnectError(_handshake_fault(wrong, "")) from wrong
            raise ConnectionLost(f"the plugin ended the TLS connection with an error: {_reason(wrong)}") from wrong
        except OSError as lost:
            raise ConnectionLost(f"the plugin closed the connection: {lost.strerror}") from lost

    def write(self, data: bytes | memoryview) -> int:
        """Send what can be sent now, and return how many bytes that was."""
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0


def handshake(sock: socket.socket, context: ssl.SSLContext, host: str, deadline: float) -> TLSConnection:
    """Return a TLS connection over a connected socket, which belongs to it from now on.

    Raises:
        ConnectError: there is no TLS, or one side rejected a certificate; says what fixes it.
        CallTimeout: the deadline passed.
    """
    return run(shaking_hands(sock, context, host, deadline))


def shaking_hands(sock: socket.socket, context: ssl.SSLContext, host: str, deadline: float) -> Steps[TLSConnection]:
    """Do as `handshake` does, without waiting: the result is an operation that yields what it waits for."""
    try:
        host.encode("idna")  # wrap_socket does so too, but has taken the socket by then, and leaves it open
        wrapped = context.wrap_socket(
            sock, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        connection = TLSConnection(wrapped)
    except BaseException as fault:
        sock.close()
        if isinstance(fault, ValueError):
            raise ConnectError(f"no certificate can be for the host {host!r}: {fault}") from fault
        raise
    try:
        yield from _shaking_hands(wrapped, deadline)
    except BaseException as fault:
        connection.close()
        if isinstance(fault, CallTimeout) or not isinstance(fault, OSError):
            raise
        raise ConnectError(_handshake_fault(fault, host)) from fault
    return connection


def _shaking_hands(sock: ssl.SSLSocket, deadline: float) -> Steps[None]:
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            events = READABLE
        except ssl.SSLWantWriteError:
            events = WRITABLE
        yield Ready(sock.fileno(), events, deadline, HANDSHAKE)


# --- error messages -----------------------------------------------------------------------------------

_TRUST_REMEDY = (
    'describe the plugin in a .json file with {"Addr": "https://...", "TLSConfig": {"CAFile": "/path/to/ca.pem"}}, '
    'or with "InsecureSkipVerify": true there to accept any certificate'
)
_NEW_CERTIFICATE = "give the plugin a certificate that is valid now; the clock of this machine may be wrong too"
_RIGHT_NAME = (
    "write a name or number that the certificate is for into Addr, or give the plugin a certificate for this one in "
    "its subjectAltName; the common name (CN) does not count, as in Docker"
)
# By OpenSSL's codes (x509_vfy.h). Trusting another authority would fix none of these.
_REMEDIES = {9: _NEW_CERTIFICATE, 10: _NEW_CERTIFICATE, 62: _RIGHT_NAME, 64: _RIGHT_NAME}
_LAST_RESORT = '"InsecureSkipVerify": true in the TLSConfig of its .json file accepts any certificate'
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION")
# Alerts with which a peer ends the handshake because of our certificate, or because there is none.
_REFUSALS = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")


def _handshake_fault(fault: OSError, host: str) -> str:
    reason = _reason(fault)
    if isinstance(fault, ssl.SSLCertVerificationError):
        words = fault.verify_message.rstrip(".")
        return f"the plugin's certificate is refused for {host!r}: {words}; {_remedy(fault)}"
    if _is_refusal(fault):
        return f"the plugin refuses this host: {reason}; CertFile and KeyFile in TLSConfig are what it is shown"
    if reason.endswith(_NO_TLS):
        return f"the plugin does not speak TLS ({reason}); if it is meant not to, its address begins with tcp://"
    if reason.endswith(_OLD_TLS):
        return f"the plugin offers no TLS version from MinVersion on, which is TLS 1.2 at least ({reason})"
    return f"the TLS handshake failed: {reason}"


def _remedy(fault: ssl.SSLCertVerificationError) -> str:
    remedy = _REMEDIES.get(fault.verify_code)
    return f"{remedy}; {_LAST_RESORT}" if remedy else _TRUST_REMEDY


def _is_refusal(fault: OSError) -> bool:
    reason = _reason(fault)
    return "ALERT" in reason and any(word in reason for word in _REFUSALS)


def _reason(fault: OSError) -> str:
    return getattr(fault, "reason", None) or fault.strerror or str(fault)
