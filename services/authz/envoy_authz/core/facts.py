"""One request while it is decided: what policies compare, each found when the first of them asks, and found once."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from envoy_authz.core.addresses import Address, client_address, parse_address
from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.core.bodies import Unreadable, read_form, read_json
from envoy_authz.core.request import RequestView
from envoy_authz.core.workload import Workload, workload_of

_CUT = "x-envoy-auth-partial-body"
_JSON = "json"
_FORM = "application/x-www-form-urlencoded"


_T = TypeVar("_T")


class _Once(Generic[_T]):
    """A property computed once; functools has one that takes a lock, which costs as much as what is found here."""

    def __init__(self, find: Callable[[Any], _T]) -> None:
        self._find = find
        self.__doc__ = find.__doc__
        self._name = find.__name__

    def __get__(self, instance: Any, owner: type) -> _T:
        value = instance.__dict__[self._name] = self._find(instance)
        return value


class Facts:
    """What is compared: `path` is normalized, `host` in lower case.

    `caller` is the source principal. `namespace` is the workload's, empty if unknown. `tokens` are those that a rule
    looks at, and `all_tokens` those that the request brought.
    """

    def __init__(
        self,
        request: RequestView,
        path: str,
        namespace: str,
        tokens: tuple[VerifiedToken, ...],
        trusted_hops: int,
    ) -> None:
        self.request = request
        self.method = request.method
        self.path = path
        self.caller = request.source_principal
        self.namespace = namespace
        self.tokens = self.all_tokens = tokens
        self._trusted_hops = trusted_hops
        self._first: Facts | None = None

    def by_token(self) -> Iterator["Facts"]:
        """Yield the same request once for each of several tokens, which alone is looked at; nothing for one or none."""
        if len(self.tokens) <= 1:
            return
        for token in self.tokens:
            one = self._again(self.path, (token,))
            one.host = self.host
            yield one

    def at_host(self, host: str) -> "Facts":
        """Return the same request for *host* (lower case)."""
        other = self._again(self.path, self.tokens)
        other.host = host
        return other

    def at_path(self, path: str) -> "Facts":
        """Return the same request for *path* (normalized)."""
        return self._again(path, self.tokens)

    def _again(self, path: str, tokens: tuple[VerifiedToken, ...]) -> "Facts":
        other = Facts(self.request, path, self.namespace, tokens, self._trusted_hops)
        other.all_tokens, other.caller = self.all_tokens, self.caller
        # However many ways a path has to be read, a body of 1 MiB is read once: all other requests wait for it.
        other._first = self._first or self
        return other

    @_Once
    def host(self) -> str:
        """Return the authority in lower case, port included."""
        return lower(self.request.host)

    @_Once
    def source(self) -> Workload:
        """Return the parts of the caller's identity."""
        return workload_of(self.caller)

    @_Once
    def source_ip(self) -> Address | None:
        """Return the address of the connection's peer."""
        return parse_address(self.request.source_address)

    @_Once
    def remote_ip(self) -> Address | None:
        """Return the client's address; None if it is not known: what a trusted proxy wrote, or the peer's, is none."""
        request = self.request
        forwarded_for = request.header("x-forwarded-for") if self._trusted_hops else None
        return parse_address(client_address(request.source_address, forwarded_for, self._trusted_hops))

    @_Once
    def destination_ip(self) -> Address | None:
        """Return the address that the client connected to."""
        return parse_address(self.request.destination_address)

    @_Once
    def request_principals(self) -> list[str]:
        """Return `issuer/subject` of each token that has both."""
        return [token.principal for token in self.tokens if token.principal]

    @property
    def is_grpc(self) -> bool:
        """Whether the request says that it is gRPC; without the header it is taken for none."""
        return (self.request.header("content-type") or "").lower().startswith("application/grpc")

    @_Once
    def kept(self) -> dict[object, bool]:
        """Return the results of tests that read the body and nothing in which the ways to read a request differ."""
        return {} if self._first is None else self._first.kept

    @_Once
    def json(self) -> object:
        """Return the body as JSON; an `Unreadable` if it is cut, absent, or not strict JSON."""
        if self._first is not None:
            return self._first.json
        return self._body_problem(_JSON) or read_json(self.request.body)

    @_Once
    def form(self) -> dict[str, list[str]] | Unreadable:
        """Return the fields of a form body; an `Unreadable` if it is cut, absent, or no form."""
        if self._first is not None:
            return self._first.form
        return self._body_problem(_FORM) or read_form(self.request.body)

    def _body_problem(self, media: str) -> Unreadable | None:
        header = self.request.header
        # Whatever else it says, such as a `false` before a forged one, this is not the word of a whole body.
        cut = header(_CUT)
        if cut is not None and cut != "false":
            return Unreadable("the body is cut")
        if not self.request.body:
            return Unreadable("there is no body")
        kind = (header("content-type") or "").partition(";")[0].strip().lower()
        if media not in kind:
            return Unreadable(f"the body is not {media}")
        if (header("content-encoding") or "identity").lower() != "identity":
            return Unreadable("the body is encoded")
        return None


def lower(text: str) -> str:
    """Return *text* with ASCII letters in lower case, and no others: the Kelvin sign is no `k`."""
    if text.isascii():
        return text.lower()
    return text.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
