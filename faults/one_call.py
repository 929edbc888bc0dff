"""Call one method of a plugin: ``one_call.py ADDRESS METHOD``. Says what came of it, and how much memory it took."""

from __future__ import annotations

import json
import sys

from resources import Memory
from watched import answer_of, watched

from extframe import Client


def main() -> None:
    """Make the call, and say as JSON what came of it."""
    address, method = sys.argv[1:]
    with Client(address) as client:
        memory = Memory()
        seen = watched(lambda: client.call(method, timeout=60), answer_of)
        print(json.dumps({"words": seen.words, "seconds": seen.seconds, "growth": memory.growth()}))


if __name__ == "__main__":
    main()
