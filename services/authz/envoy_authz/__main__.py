"""`python -m envoy_authz`."""

from envoy_authz.cli import main

if __name__ == "__main__":
    main()
