"""The decision itself: pure and synchronous. No gRPC, protobuf, Redis, file or global state in here."""
