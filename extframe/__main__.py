"""``python -m extframe``: the ``extframe`` command where its script is not on PATH."""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # -m puts the working directory there, where a json.py would shadow the standard library

    from .cli import main

    main()
