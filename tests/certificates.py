"""Certificates for tests of TLS: an authority that signs what a test asks for. Files are PEM in one directory."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    cert_file: str
    key_file: str
    certificate: x509.Certificate
    key: Key

    def server_context(self, *, clients_of: str = "") -> ssl.SSLContext:
        """Return a server's context; ``clients_of``: the file of the authority whose clients alone are let in."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        if clients_of:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients_of)
        return context


class Authority:
    """Signs certificates; ``ca_file`` holds its own."""

    def __init__(self, directory: Path, name: str = "ca", *hosts: str) -> None:
        self._directory = directory
        self._own: Identity | None = None
        self._own = self.issue(name, *hosts, authority=True)
        self.ca_file = self._own.cert_file

    @property
    def identity(self) -> Identity:
        """Its own certificate, which is self-signed."""
        assert self._own is not None
        return self._own

    def issue(
        self,
        name: str,
        *hosts: str,
        expired: bool = False,
        early: bool = False,
        authority: bool = False,
        password: bytes | None = None,
    ) -> Identity:
        """Return a new identity for ``hosts``, which are names or numbers; files are called after ``name``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer_key, issuer = (self._own.key, self._own.certificate.subject) if self._own else (key, subject)
        begin = datetime.now(timezone.utc) + timedelta(days=2 if early else -2)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=1 if expired else 30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            # Python 3.13 asks for these three.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
            .add_extension(_usage(authority=authority), critical=True)
        )
        if hosts:
            names = [_alternative(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._write(name, builder.sign(signer_key, hashes.SHA256()), key, password)

    def _write(self, name: str, certificate: x509.Certificate, key: Key, password: bytes | None) -> Identity:
        cert_file, key_file = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return Identity(str(cert_file), str(key_file), certificate, key)


def _usage(*, authority: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(others, False),
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
