"""The matrix: a file for each group of faults, with its TITLE and its FAULTS."""
