"""What in a tap configuration makes Envoy abort, refuse it, or capture less than was meant."""
