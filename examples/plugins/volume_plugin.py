"""A volume plugin: each volume is a directory below one root. State is on disk, and whole after any crash.

Run it as root, then use it:

    python volume_plugin.py /srv/volumes --name directories
    docker volume create --driver directories photos
    docker run --rm -v photos:/photos alpine touch /photos/one
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

from extframe.errors import RemoteError
from extframe.server import serve
from extframe.subsystems.volume import Volume, VolumeCapability, VolumeDriver

OPTIONS = {"mode"}
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Record:
    """The metadata of a volume, stored as ``volume.json`` next to its data.

    Args:
        name: its name, whatever characters the user chose.
        options: as it was created.
        created_at: when, RFC 3339.
        mounts: how often each user has mounted it, by ID.
        boot: the boot of the machine in which it was mounted. No mount lives longer.
    """

    name: str
    options: dict[str, str] = field(default_factory=dict)
    created_at: str = ""
    mounts: dict[str, int] = field(default_factory=dict)
    boot: str = ""


class DirectoryVolumes(VolumeDriver):
    """Volumes as directories: ``ROOT/photos/data`` is the volume, ``ROOT/photos/volume.json`` what is known of it.

    Calls for one name must be serialised: serve it with ``serialize="name"``.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve()
        self._boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{root}: another plugin keeps its volumes there") from None
        for left in self.root.glob(".*"):  # what a crash left of a volume on its way in or out
            shutil.rmtree(left)

    # What hosts call.

    def create(self, name: str, opts: dict[str, str] = {}) -> None:  # noqa: B006
        """Create a volume. Docker may send the same request twice, which is not an error."""
        unknown = opts.keys() - OPTIONS
        if unknown:
            raise RemoteError(f"unknown option {sorted(unknown)[0]!r}; there is: {', '.join(sorted(OPTIONS))}")
        mode = int(opts.get("mode", "755"), 8)
        existing = self._find(name)
        if existing is not None:
            if existing.options != opts:
                raise RemoteError(f"volume {name!r} exists with other options: {existing.options}")
            return
        now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        (draft / "data").mkdir()
        (draft / "data").chmod(mode)
        _write(draft / "volume.json", asdict(Record(name, opts, now)))
        draft.rename(self._directory(name))
        _sync(self.root)

    def remove(self, name: str) -> None:
        """Remove a volume and what is in it, unless it is mounted."""
        users = self._mounts(self._known(name))
        if users:
            raise RemoteError(f"volume {name!r} is in use by {', '.join(users)}")
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=self.root))
        self._directory(name).rename(gone / "volume")
        _sync(self.root)
        shutil.rmtree(gone)

    def mount(self, name: str, id: str) -> str:
        """Count a user of the volume. ``docker cp`` mounts again with the ID of a running container."""
        record = self._known(name)
        mounts = self._mounts(record)
        self._remember(record, {**mounts, id: mounts.get(id, 0) + 1})
        return str(self._data(name))

    def unmount(self, name: str, id: str) -> None:
        """Remove a user. An unknown user is not an error: hosts clean up after a failed mount."""
        record = self._known(name)
        mounts = self._mounts(record)
        mounts[id] = mounts.get(id, 0) - 1
        self._remember(record, {user: count for user, count in mounts.items() if count > 0})

    def path(self, name: str) -> str:
        """Return the volume's directory while it is mounted."""
        return str(self._data(name)) if self._mounts(self._known(name)) else ""

    def get(self, name: str) -> Volume:
        """Return a volume."""
        return self._describe(self._known(name))

    def capabilities(self) -> VolumeCapability:
        """Return that other machines do not see these volumes."""
        return VolumeCapability(scope="local")

    def list(self) -> list[Volume]:
        """Return all volumes."""
        records = (_read(path / "volume.json") for path in sorted(self.root.iterdir()) if path.name[0] != ".")
        return [self._describe(record) for record in records if record is not None]

    # What is on disk.

    def _directory(self, name: str) -> Path:
        return self.root / safe_name(name)

    def _data(self, name: str) -> Path:
        return self._directory(name) / "data"

    def _find(self, name: str) -> Record | None:
        return _read(self._directory(name) / "volume.json")

    def _known(self, name: str) -> Record:
        record = self._find(name)
        if record is None:
            raise RemoteError(f"no such volume: {name!r}")
        return record

    def _mounts(self, record: Record) -> dict[str, int]:
        return dict(record.mounts) if record.boot == self._boot else {}

    def _remember(self, record: Record, mounts: dict[str, int]) -> None:
        record.mounts, record.boot = mounts, self._boot
        _write(self._directory(record.name) / "volume.json", asdict(record))

    def _describe(self, record: Record) -> Volume:
        return Volume(
            name=record.name,
            mountpoint=str(self._data(record.name)),
            created_at=record.created_at,
            status={"mounts": sum(self._mounts(record).values()), "options": record.options},
        )


def safe_name(name: str) -> str:
    """Return a directory's name for a volume: one for each, readable where that is possible.

    >>> safe_name("photos"), safe_name("../../etc/x"), safe_name(".")
    ('photos', '%2E.%2F..%2Fetc%2Fx', '%2E')
    """
    quoted = quote(name, safe="", errors="surrogatepass")
    if quoted.startswith("."):  # no hidden file, and neither "." nor ".."
        quoted = "%2E" + quoted[1:]
    if 0 < len(quoted) <= 200:
        return quoted
    # Two hexadecimal digits follow each % in a quoted name, so no other volume has this name.
    return "%name-" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is seen whole or as it was before, after a loss of power too."""
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> None:
    """Serve the volumes of a directory."""
    parser = argparse.ArgumentParser(description="A volume plugin whose volumes are directories.")
    parser.add_argument("root", type=Path, help="where the volumes are")
    parser.add_argument("--name", default="directories", help="the plugin's name")
    parser.add_argument("--directory", default="/run/docker/plugins", help="where its socket is made")
    options = parser.parse_args()
    serve(DirectoryVolumes(options.root), name=options.name, directory=options.directory, serialize="name")


if __name__ == "__main__":
    main()
