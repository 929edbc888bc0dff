"""Activate all plugins of the directory given as argument; print the duration and the resources in use afterwards."""

import json
import os
import resource
import sys
import threading
import time

# A manager imports these at its first use. What get_all takes is measured here; what imports take, in the start.
import extframe.host.dispatch
import extframe.host.plugin  # noqa: F401
from extframe import LocalRegistry, PluginManager, VolumeDriver


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# The usual limit: a manager keeps as many connections as there are file descriptors for.
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

manager = PluginManager(LocalRegistry(sys.argv[1], []))
before = resident()
started = time.perf_counter_ns()
plugins = manager.get_all(VolumeDriver)
elapsed = time.perf_counter_ns() - started
print(
    json.dumps(
        {
            "ns": elapsed,
            "found": len(plugins),
            "memory": resident() - before,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
        }
    )
)
