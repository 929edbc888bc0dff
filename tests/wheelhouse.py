"""A directory of real wheels for tests without network: of installed packages, of this checkout, and of small ones."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def write_wheel(
    directory: Path, name: str, version: str, files: Mapping[str, bytes], *, metadata: str = "", entry_points: str = "",
    tag: str = "py3-none-any",
) -> Path:  # fmt: skip
    """Write a wheel. ``metadata`` are further lines, such as ``Requires-Dist: extframe``."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    if entry_points:
        content[f"{info}/entry_points.txt"] = entry_points.encode()
    record = "".join(f"{path},sha256={_digest(each)},{len(each)}\n" for path, each in content.items())
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = directory / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, each in content.items():
            archive.writestr(zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0)), each)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def repack(directory: Path, name: str) -> Path:
    """Write a wheel of a package that is installed."""
    installed = distribution(name)
    tags = [line.removeprefix("Tag: ") for line in (installed.read_text("WHEEL") or "").splitlines() if "Tag: " in line]
    files = {}
    for path in installed.files or ():
        located = Path(str(installed.locate_file(path)))
        if ".." not in path.parts and not path.parts[0].endswith(".dist-info") and located.suffix != ".pyc":
            files[str(path)] = located.read_bytes()
    wanted = (
        f"{key}: {value}" for key, value in installed.metadata.items() if key in ("Requires-Dist", "Provides-Extra")
    )
    return write_wheel(
        directory, name, installed.version, files, metadata="\n".join([*wanted, ""]), tag=tags[0],
        entry_points=installed.read_text("entry_points.txt") or "",
    )  # fmt: skip


def repack_extframe(directory: Path, version: str | None = None) -> Path:
    """Write a wheel of the extframe that is tested, wherever it is installed."""
    import extframe

    package = Path(extframe.__file__).parent
    files = {
        str(path.relative_to(package.parent)): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    installed = distribution("extframe")
    needed = "".join(f"Requires-Dist: {each}\n" for each in installed.requires or () if "extra ==" not in each)
    return write_wheel(
        directory, "extframe", version or installed.version, files, metadata=needed,
        entry_points=installed.read_text("entry_points.txt") or "",
    )  # fmt: skip


def write_wheelhouse(directory: Path) -> Path:
    """Write wheels of extframe and of what it needs, as far as this version of Python needs it, into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    repack_extframe(directory)
    for name in _needed("extframe", set()) - {"extframe"}:
        repack(directory, name)
    return directory


def _needed(name: str, known: set[str]) -> set[str]:
    """Return the packages that a package needs, itself included."""
    if name not in known:
        known.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _needed(canonicalize_name(requirement.name), known)
    return known


PLUGIN = """
import importlib.metadata

import {library}

import extframe


class Greeter(extframe.Interface, implements="Greeter"):
    @extframe.rpc("Greet", returns="Text")
    def greet(self, name: str) -> str:
        raise NotImplementedError


class Plugin(Greeter):
    def greet(self, name: str) -> str:
        version = importlib.metadata.version("extframe")
        library = getattr({library}, "VERSION", "")
        return f"{{name}}: {name} {version}, {library} {{library}}, extframe {{version}}"
"""


def write_plugin(directory: Path, name: str, *needs: str, version: str = "1.0", library: str = "platform") -> Path:
    """Write a wheel acme-NAME with a plugin NAME, a class ``acme_NAME:Plugin`` that greets."""
    source = PLUGIN.format(name=name, version=version, library=library)
    needed = "".join(f"Requires-Dist: {each}\n" for each in needs)
    points = f"[extframe.plugins]\n{name} = acme_{name}:Plugin\n"
    files = {f"acme_{name}.py": source.encode()}
    return write_wheel(directory, f"acme-{name}", version, files, metadata=needed, entry_points=points)
