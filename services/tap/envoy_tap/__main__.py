"""The command `envoy-tap`, and `python -m envoy_tap`."""

from envoy_sidecar import collector

# What is imported stays: to walk it again and again costs up to a fifth of the start.
with collector.held():
    from envoy_tap.cli import main

if __name__ == "__main__":
    main()
