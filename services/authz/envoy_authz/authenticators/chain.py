"""Several authenticators as one."""

from collections.abc import Sequence

from envoy_authz.core.authentication import ANONYMOUS, Authentication, Authenticator
from envoy_authz.core.request import RequestView

_KEPT = 4096
_KEPT_CHARACTERS = 4096
"""What is larger is seldom the same again: a `cookie` without its token is as the client made it."""


class AuthenticatorChain:
    """An `Authenticator` that asks all of *members* in order: the first refusal is the answer, else what all found.

    Of two that set one header the first counts, and what any of them sets, none removes.
    """

    def __init__(self, members: Sequence[Authenticator]) -> None:
        self._members = tuple(members)
        # With what they were made of, or another object might be made at an address.
        self._combined: dict[tuple[int, ...], tuple[list[Authentication], Authentication]] = {}

    def authenticate(self, request: RequestView) -> Authentication:
        """Return what all members found; see `Authenticator`. Never raises, as they don't."""
        found: list[Authentication] = []
        for member in self._members:
            one = member.authenticate(request)
            if one.refusal is not None:
                return one
            if one is not ANONYMOUS:
                found.append(one)
        if len(found) <= 1:
            return found[0] if found else ANONYMOUS
        key = tuple(map(id, found))
        kept = self._combined.get(key)
        if kept is not None:
            return kept[1]
        combined = self._combine(found)
        if sum(len(value) for _name, value in combined.set_headers) <= _KEPT_CHARACTERS:
            if len(self._combined) >= _KEPT:
                self._combined.clear()
            self._combined[key] = found, combined
        return combined

    @staticmethod
    def _combine(found: Sequence[Authentication]) -> Authentication:
        headers: dict[str, str] = {}
        for one in found:
            for name, value in one.set_headers:
                headers.setdefault(name, value)
        removed = {name for one in found for name in one.remove_headers}
        return Authentication(
            tokens=tuple(token for one in found for token in one.tokens),
            set_headers=tuple(headers.items()),
            remove_headers=tuple(sorted(removed.difference(headers))),
            remove_query_parameters=tuple(name for one in found for name in one.remove_query_parameters),
        )
