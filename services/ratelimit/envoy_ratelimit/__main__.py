"""`python -m envoy_ratelimit`."""

from envoy_ratelimit.cli import main

if __name__ == "__main__":
    main()
