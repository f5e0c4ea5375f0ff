"""The real programs that the end-to-end tests use."""

from tests.e2e.conftest import of_module, processes, pytest_runtest_makereport

__all__ = ["of_module", "processes", "pytest_runtest_makereport"]
