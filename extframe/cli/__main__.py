"""``python -m extframe.cli``: the same as ``python -m extframe``."""

import sys

if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # -m puts the working directory there, where a json.py would shadow the standard library

    from . import main

    main()
