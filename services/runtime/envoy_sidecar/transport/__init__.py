"""Transports: the same handlers served by `pygrpc-native` (HTTP/2 outside the GIL) or by grpcio."""
