"""The tap slot: what is put into a proxy's filter chain, and the ECDS server that puts it there.

`target`, `script` and `slot` are light; `resources` and `ecds` import `envoy-data-plane`, which takes 0.4 s and more,
so import those two only where a server starts.
"""
