"""``python -m extframe.cli``: the ``extframe`` command where its script is not on the path. Knows nothing else."""

from . import main

if __name__ == "__main__":
    main()
