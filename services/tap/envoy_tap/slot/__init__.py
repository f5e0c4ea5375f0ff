"""The tap slot: what is put into a proxy's filter chain, and the ECDS server that puts it there.

`script` and `slot` are light; the others import `envoy-data-plane`, which takes 0.4 s and more, so import those only
where a server starts.
"""
