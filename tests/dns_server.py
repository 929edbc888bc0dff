"""A DNS server on a free UDP port of 127.0.0.1 whose records a test changes, and which can be silent or refuse."""

from __future__ import annotations

import socketserver
import threading
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class DNSServer:
    """Answers for the names in ``records``; every other name does not exist.

    Attributes:
        records: for a name and a type, the data of its records: ``("a.example", "SRV"): ["0 1 80 host.example"]``.
        additional: whether SRV records come with the addresses of their hosts.
        ttl: of all records, in seconds.
        mode: ``answer``, ``silent`` or ``fail``.
        questions: what was asked, as ``SRV a.example``.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.additional = True
        self.ttl = 0
        self.mode = "answer"
        self.questions: list[str] = []
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                reply = server._reply(data)
                if reply is not None:
                    sock.sendto(reply, self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _reply(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.questions.append(f"{kind} {name}")
        if self.mode == "silent":
            return None
        response: Any = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.mode == "fail":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif not any(each == name for each, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif found := self.records.get((name, kind)):
            response.answer.append(self._rrset(question.name, kind, found))
            response.additional.extend(self._hosts(kind, found))
        wire: bytes = response.to_wire()
        return wire

    def _hosts(self, kind: str, found: list[str]) -> list[Any]:
        """The addresses of the hosts in SRV records."""
        hosts = sorted({data.split()[3] for data in found}) if kind == "SRV" and self.additional else []
        return [
            self._rrset(dns.name.from_text(host), each, self.records[host, each])
            for host in hosts
            for each in ("A", "AAAA")
            if (host, each) in self.records
        ]

    def _rrset(self, name: Any, kind: str, data: list[str]) -> Any:
        # The targets of these tests are absolute, without a dot at the end.
        absolute = [f"{each}." if kind in ("SRV", "PTR") and not each.endswith(".") else each for each in data]
        return dns.rrset.from_text_list(name, self.ttl, "IN", kind, absolute)
