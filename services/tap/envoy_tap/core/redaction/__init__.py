"""Redaction: what of an exchange nobody is to see.

The proxy does it in Lua (`slot/redaction.lua`); this is the same in Python, for what the proxy can't see into, and for
other drivers.
"""
