"""Where sessions and what they capture are kept: one port, encrypted in every implementation of it."""
