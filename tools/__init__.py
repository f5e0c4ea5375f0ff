"""Tools of the repository, run as `python -m tools.NAME` by the Makefile."""
