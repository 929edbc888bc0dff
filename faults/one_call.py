"""Call one method of a plugin: ``one_call.py ADDRESS METHOD``. Prints the outcome and the memory used."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # peak_memory

from observe import answer_of, observe
from peak_memory import PeakMemory

from extframe import Client


def main() -> None:
    """Make the call and print the outcome as JSON."""
    address, method = sys.argv[1:]
    with Client(address) as client:
        memory = PeakMemory()
        outcome = observe(lambda: client.call(method, timeout=60), answer_of)
        print(json.dumps({"text": outcome.text, "seconds": outcome.seconds, "growth": memory.growth()}))


if __name__ == "__main__":
    main()
