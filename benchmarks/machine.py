"""The machine and the versions of a measurement. Reads files and metadata; measures nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    *("extframe", "pluggy", "msgspec", "httptools", "uvicorn", "uvloop"),
    *("requests", "requests-unixsocket", "httpx", "aiohttp", "urllib3", "pycurl", "stevedore", "flask", "waitress"),
)


def machine() -> dict[str, Any]:
    """Return the machine, the versions and the date."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "go": _output("go", "version").removeprefix("go version "),
        "moby": _output("dpkg-query", "--show", "--showformat=${Version}", "golang-github-docker-docker-dev"),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def measured_on(machine: dict[str, Any]) -> str:
    """Return what `machine` found as a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    go = f"{machine['go']}, moby {machine['moby']}" if machine["go"] else "no Go"
    return (
        f"Measured {machine['date']} on {machine['cores']} cores of {machine['processor']} ({machine['system']}; load "
        f"{machine['load']} at the end), Python {machine['python']}, {go}, {packages}.\n"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
