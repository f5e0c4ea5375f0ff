"""Who may use the session API, and who may tap what. See docs/tap-access.md."""

from envoy_tap.access.authority import Authority
from envoy_tap.access.people import MAY, Person, Role
from envoy_tap.access.rules import DeniedError, Rule, Rules

__all__ = ["MAY", "Authority", "DeniedError", "Person", "Role", "Rule", "Rules"]
