"""dnsmasq as the DNS server of a system: plugins in a zone of it, found and called by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may create a network namespace")

# A network and mounts of its own, in which port 53 is free and the system asks there.
NAMESPACE = 'ip link set lo up && mount --bind "$0" /etc/resolv.conf && exec "$@"'

HOST = """
import contextlib, json, subprocess, sys, time
import extframe

ZONE = [
    "--ptr-record=plugins.example,rclone.plugins.example",
    "--srv-host=rclone.plugins.example,a.plugins.example,9000,1,10",
    "--srv-host=rclone.plugins.example,b.plugins.example,9000,2,10",
    "--host-record=a.plugins.example,127.0.0.2",
    "--host-record=b.plugins.example,127.0.0.3",
    # More than one datagram has room for.
    *(f"--srv-host=many.plugins.example,instance-{number}.plugins.example,9000" for number in range(100)),
]


class Volumes(extframe.VolumeDriver):
    def __init__(self, host):
        self.host = host

    def list(self):
        return [extframe.Volume(name=self.host)]


@contextlib.contextmanager
def dnsmasq(*options):
    server = subprocess.Popen([
        sys.argv[1], "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-hosts",
        "--no-resolv", "--local=/plugins.example/", "--local-ttl=1", "--listen-address=127.0.0.1", "--bind-interfaces",
        *options,
    ])
    yield
    server.terminate()
    server.wait()


def until(condition):
    while True:
        with contextlib.suppress(extframe.ExtframeError):
            found = condition()
            if found:
                return found
        time.sleep(0.05)


registry = extframe.DNSRegistry("plugins.example")
result = {}
with contextlib.ExitStack() as stack:
    pm = stack.enter_context(extframe.PluginManager(registry))
    for host in ("127.0.0.2", "127.0.0.3"):
        address = f"tcp://{host}:9000"
        stack.enter_context(extframe.serving(Volumes(host), name="v", address=address, spec_directory=sys.argv[2]))
    with dnsmasq(*ZONE):
        result["scan"] = until(registry.scan)
        spec = registry.find("rclone")
        result["endpoints"] = [[each.address, each.weight, each.draining] for each in spec.endpoints]
        volumes = pm.driver("rclone", extframe.VolumeDriver)
        result["many"] = len(registry.find("many").endpoints)
        result["called"] = volumes.list()[0].name
        result["stamp"] = registry.stamp(spec) == spec.stamp
    time.sleep(1.1)  # longer than the TTL
    result["without a server"] = [registry.scan(), pm.driver("rclone", extframe.VolumeDriver).list()[0].name]
    with dnsmasq():
        until(lambda: registry.stamp(spec) is None)
        try:
            pm.get("rclone")
        except extframe.PluginNotFound as missing:
            result["removed"] = str(missing)
print(json.dumps(result))
"""


def test_plugins_are_found_through_the_dns_server_of_the_system(need: Callable[[str], str], tmp_path: Path) -> None:
    unshare, dnsmasq = need("unshare"), need("dnsmasq")
    need("ip")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    command = [
        unshare,
        "--net",
        "--mount",
        "sh",
        "-c",
        NAMESPACE,
        resolv,
        sys.executable,
        "-c",
        HOST,
        dnsmasq,
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "scan": ["rclone"],
        "endpoints": [["tcp://a.plugins.example:9000", 10, False], ["tcp://b.plugins.example:9000", 10, True]],
        "many": 100,
        "called": "127.0.0.2",
        "stamp": True,
        "without a server": [["rclone"], "127.0.0.2"],
        "removed": "no plugin 'rclone': looked for SRV records of rclone.plugins.example",
    }
