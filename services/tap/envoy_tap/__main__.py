"""`python -m envoy_tap`."""

from envoy_tap.cli import main

if __name__ == "__main__":
    main()
