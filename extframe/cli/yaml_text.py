"""Write JSON values as YAML 1.2 in block style. Knows nothing about plugins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+-]+)*")
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}  # values of other types, also in YAML 1.1


def as_yaml(value: Any) -> str:
    r"""Return a value of JSON's types as YAML. Strings that YAML could read as something else are quoted as in JSON.

    >>> print(as_yaml({"name": "photos", "implements": ["authz"], "next_try": None}), end="")
    name: photos
    implements:
    - authz
    next_try: null
    """
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _entry(f"{_scalar(str(key))}:", each, indent="  " if isinstance(each, dict) else "")
    elif isinstance(value, (list, tuple)) and value:
        for each in value:
            first, *rest = _lines(each)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, (dict, list, tuple)) and value:
        yield key
        yield from (f"{indent}{line}" for line in _lines(value))
    else:
        yield f"{key} {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
