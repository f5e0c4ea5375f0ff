"""The console: a page where operators look at sessions and exchanges. See docs/tap-console.md."""
