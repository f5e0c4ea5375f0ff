"""Authenticators: what they find out about the caller of a request, by tokens, keys and plug-ins."""
