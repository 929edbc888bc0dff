"""The text of an OpenAPI document in a file, the same byte for byte for the same document."""

from __future__ import annotations

import json
from typing import Any


def as_text(document: dict[str, Any]) -> str:
    """Return a document as JSON in lines of readable length."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
