"""Envoy's response flags, as access logs write them."""

# https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/attributes#response-attributes: bit 0 first.
_SHORT = (
    *("LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX"),
    *("SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR"),
)


def short_flags(bits: int) -> str:
    """Return the flags of the attribute `response.flags`, such as `UF,URX`; `-` for none."""
    return ",".join(name for place, name in enumerate(_SHORT) if bits >> place & 1) or "-"
