"""Type checkers accept what users write, with nothing but extframe's own annotations, and find their mistakes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import extframe

USER_CODE = Path(__file__).parent / "typing"
SOURCE = Path(extframe.__file__).parent.parent
INSTALLED = SOURCE.name == "site-packages"  # where checkers look without being told

pytestmark = pytest.mark.long


def mistakes(file: Path) -> set[int]:
    return {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# mistake")}


@pytest.fixture
def user_code(tmp_path: Path) -> Path:
    """User code on its own, where no configuration of ours is found."""
    return Path(shutil.copytree(USER_CODE, tmp_path / "code"))


def mypy(file: Path) -> dict[int, str]:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    path = {} if INSTALLED else {"MYPYPATH": str(SOURCE)}
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--config-file=",
            "-O",
            "json",
            file.name,
        ],
        cwd=file.parent,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines() if line]
    return {each["line"]: each["message"] for each in found if each["severity"] == "error"}


def pyright(file: Path) -> dict[int, str]:
    program = shutil.which("pyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("pyright is not installed")
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.10", "include": [file.name]}
    if not INSTALLED:
        settings["extraPaths"] = [str(SOURCE)]
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    run = subprocess.run(
        [program, "--project", str(file.parent), "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if run.returncode not in (0, 1):
        pytest.skip(f"pyright does not run here: {(run.stderr or run.stdout).strip()[-200:]}")
    found = json.loads(run.stdout)["generalDiagnostics"]
    return {each["range"]["start"]["line"] + 1: each["message"] for each in found if each["severity"] == "error"}


@pytest.mark.parametrize("check", [mypy, pyright])
@pytest.mark.parametrize("name", ["user_code.py", "async_user_code.py"])
def test_a_strict_checker_accepts_what_users_write(check, name, user_code):
    assert check(user_code / name) == {}


@pytest.mark.parametrize("check", [mypy, pyright])
@pytest.mark.parametrize("name", ["mistakes.py", "async_mistakes.py"])
def test_a_strict_checker_finds_each_mistake(check, name, user_code):
    assert check(user_code / name).keys() == mistakes(user_code / name)
