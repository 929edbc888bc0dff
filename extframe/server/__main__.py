"""Serve a driver as a plugin: ``python -m extframe.server MODULE:CLASS NAME``, which hosts run for Python plugins."""

from __future__ import annotations

import sys
from functools import reduce
from importlib import import_module
from typing import Any

from .run import serve


def main(target: str, name: str) -> None:
    """Serve what ``target`` names; a class is called without arguments."""
    module, _, path = target.partition(":")
    found: Any = reduce(getattr, path.split("."), import_module(module))
    serve(found() if isinstance(found, type) else found, name=name)


if __name__ == "__main__":
    main(*sys.argv[1:])
