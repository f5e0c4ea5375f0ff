"""The authors' commands beside `serve`: each returns an exit code, 0 clean, 1 findings, 2 usage or unreadable input."""
