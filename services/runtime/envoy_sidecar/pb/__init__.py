"""Generated protobuf classes of the request path (see protos/); only a service's wire adapter imports them."""
