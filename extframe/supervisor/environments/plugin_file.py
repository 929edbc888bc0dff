"""Write NAME.toml for a plugin in an environment, and keep what the user wrote into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...errors import ExtframeError, SpecError
from ..config import PluginConfig, PythonPlugin, parse_config
from .store import make_directory, write_file

_PYTHON_LINE = re.compile(r"^python[ \t]*=.*$", re.MULTILINE)
_TITLE = "# Written by `extframe install`. Settings that you add are kept."


def read_plugin_file(path: Path, name: str) -> PluginConfig | None:
    """Return the configuration of a plugin; None if the file does not exist.

    Raises:
        SpecError: it has a mistake.
        ExtframeError: it cannot be read.
    """
    try:
        return parse_config(path.read_bytes(), name, str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExtframeError(f"cannot read {path}: {error.strerror}") from error


def check_replaceable(path: Path, name: str) -> None:
    """Check that a plugin's file, if there is one, is for an environment.

    Raises:
        SpecError: it starts something else, or has a mistake.
    """
    config = read_plugin_file(path, name)
    if config is not None and (config.python is None or config.python.environment is None):
        raise SpecError(
            f"{path} starts another program under the name {name!r}; choose another name, or remove that file",
            plugin=name,
            source=str(path),
        )


def write_plugin_file(path: Path, name: str, plugin: PythonPlugin) -> None:
    """Let a plugin's file start ``plugin``. Always writes it, so that a running supervisor notices a new environment.

    Raises:
        SpecError: it has a mistake, or its key ``python`` is not one line.
    """
    line = f'python = {{ plugin = "{plugin.plugin}", environment = "{plugin.environment}" }}'
    config = read_plugin_file(path, name)
    if config is None:
        make_directory(path.parent)
        write_file(path, f"{_TITLE}\n{line}\n")
        return
    text = path.read_text(encoding="utf-8")
    if config.python != plugin:
        text, count = _PYTHON_LINE.subn(lambda _: line, text, count=1)
        if count != 1:
            raise SpecError(f"{path} has no line with the key 'python'; write {line}", plugin=name, source=str(path))
    write_file(path, text)


def plugin_files(directory: Path) -> dict[str, Path]:
    """Return the files of all plugins in a directory, by name."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    return {each.removesuffix(".toml"): directory / each for each in names if each.endswith(".toml") and each[0] != "."}
