"""`python -m envoy_demo`."""

from envoy_demo.cli import main

if __name__ == "__main__":
    main()
