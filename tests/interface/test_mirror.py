"""The command that writes mirrors: Docker's seven are what it writes, and what it writes for others can be imported."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from every_method import INTERFACES

import extframe
from extframe import AsyncInterface
from extframe.interface import declaration
from extframe.interface.mirror import mirror_source
from extframe.interface.remote import mirror_of

OTHERS = '''
    from __future__ import annotations

    import enum
    from collections.abc import Iterator
    from typing import Annotated, Any, Literal

    import extframe

    class Kind(enum.Enum):
        FAST = "fast"

    class Options(extframe.Message, frozen=True):
        level: int = 0

        class Inner(extframe.Message, frozen=True):
            size: int = 1

    LINES = extframe.StreamCodec(unpack=iter, pack=bytes)

    class Backup(extframe.Interface, implements="Backup"):
        """Keeps copies."""

        @extframe.rpc("Start", returns="Job")
        def start(
            self,
            path: Annotated[str, extframe.Key("PATH")],
            options: Options = Options(),
            other: Options | None = Options(level=2),
            *,
            kind: Kind = Kind.FAST,
            mode: Literal["a", 'b"'] = 'b"',
            quote: str = "it's",
            data: bytes = b"x",
            inner: dict[str, list[Options.Inner]] = {},
            anything: Any = None,
        ) -> list[Options.Inner]:
            """Start."""
            raise NotImplementedError

        @extframe.rpc("Log", stream=LINES)
        def log(self) -> Iterator[tuple[int, str]]:
            """Read the log."""
            raise NotImplementedError

        @extframe.rpc("Stop", returns="Codes")
        def stop(self, path: str, *, force_everything_now: bool = False, because_of: str = "no reason") -> list[int]:
            """Stop."""
            raise NotImplementedError
'''


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extframe.interface.mirror", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_the_mirrors_of_the_subsystems_are_what_the_command_writes(interface):
    mirror = mirror_of(interface)
    written = Path(sys.modules[mirror.__module__].__file__ or "").read_text()
    module = f"{interface.__module__}:{interface.__name__}"
    assert written == mirror_source(interface), f"run: python -m extframe.interface.mirror {module}"
    assert getattr(extframe, f"Async{interface.__name__}") is mirror
    assert issubclass(mirror, AsyncInterface)
    assert declaration(mirror) is declaration(interface)


def test_the_command_writes_the_mirror_of_any_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mirrored_backup.py").write_text(textwrap.dedent(OTHERS))
    done = run(tmp_path, "mirrored_backup:Backup")
    assert done.returncode == 0, done.stderr
    (tmp_path / "mirrored_async.py").write_text(done.stdout)
    monkeypatch.syspath_prepend(str(tmp_path))
    from mirrored_async import AsyncBackup
    from mirrored_backup import Backup

    assert mirror_of(Backup) is AsyncBackup
    assert "from extframe import AsyncInterface" in done.stdout
    ruff = Path(sys.executable).parent / "ruff"
    if ruff.exists():
        for command in (["format", "--check", "--line-length=120"], ["check", "--select=I,F"]):
            checked = subprocess.run(
                [ruff, *command, "mirrored_async.py"], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("extframe:PluginManager", "is not a class that declares an Interface"),
        ("extframe.subsystems.volume:Nothing", "has no attribute 'Nothing'"),
        ("no_such_module:Backup", "No module named 'no_such_module'"),
        (":Backup", "Empty module name"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_argument(tmp_path: Path, argument: str, message: str):
    done = run(tmp_path, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert argument in done.stderr
    assert message in done.stderr
