"""One file per part of the page: ``run(bench)`` returns a Report."""
