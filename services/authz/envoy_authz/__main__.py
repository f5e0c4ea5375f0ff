"""The command `envoy-authz`, and `python -m envoy_authz`."""

from envoy_sidecar import collector

# What is imported stays: to walk it again and again costs up to a fifth of the start.
with collector.held():
    from envoy_authz.cli import main

if __name__ == "__main__":
    main()
