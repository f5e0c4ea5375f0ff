"""`RequestAuthentication` documents as one authenticator: which rules apply to a workload, and where their keys are."""

import time
from collections.abc import Callable, Mapping, Sequence

from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.jwt_rules import JwtRulesAuthenticator
from envoy_authz.authenticators.model import JwtRule, RequestAuthentication
from envoy_authz.authenticators.workloads import Workload, workload_of_request
from envoy_authz.core.authentication import Authentication, Authenticator
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.cache import DEFAULT_CAPACITY
from envoy_authz.tokens.keys import parse_jwks
from envoy_authz.tokens.remote import RemoteLocation
from envoy_authz.tokens.sources import KeyRing, StaticKeys
from envoy_authz.tokens.verify import KeySource

MAX_WORKLOADS = 1024


class RequestAuthenticator:
    """An `Authenticator` by all *documents* that apply to the workload of a request.

    *workload* says which one that is. A document without a namespace, or with that of *root_namespace*, applies in
    all. Where namespace or labels are unknown, a document that asks for them applies: it verifies more, and no client
    brings the headers it sets. Raises ValueError when inline keys are no JWK Set.
    """

    def __init__(
        self,
        documents: Sequence[RequestAuthentication],
        ring: KeyRing,
        *,
        workload: Callable[[RequestView], Workload] = workload_of_request,
        root_namespace: str = "istio-system",
        clock: Callable[[], float] = time.time,
        senders: SenderChecker | None = None,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self.documents = tuple(documents)
        self._sources = key_sources(documents, ring)
        self._clock = clock
        self._senders = SenderChecker(clock) if senders is None else senders
        self._capacity = capacity
        self._root_namespace = root_namespace
        # An upstream behind another workload may believe them as well.
        self._identity_headers = frozenset(
            header for document in documents for rule in document.rules for header in rule.output_headers
        )
        scoped = any(document.namespace or document.match_labels for document in documents)
        self._workload = workload if scoped else None
        self._by_documents: dict[tuple[RequestAuthentication, ...], Authenticator] = {}
        self._by_workload: dict[tuple[str, frozenset[tuple[str, str]] | None], Authenticator] = {}
        self._all = self._authenticator(self.documents)

    def authenticate(self, request: RequestView) -> Authentication:
        """Return what is known of the caller of *request*; see `Authenticator`. Never raises."""
        if self._workload is None:
            return self._all.authenticate(request)
        namespace, labels = self._workload(request)
        key = namespace, None if labels is None else frozenset(labels.items())
        chosen = self._by_workload.get(key)
        if chosen is None:
            applying = tuple(
                document
                for document in self.documents
                if applies(document, namespace, labels, self._root_namespace)
            )
            chosen = self._authenticator(applying)
            if len(self._by_workload) >= MAX_WORKLOADS:
                self._by_workload.clear()
            self._by_workload[key] = chosen
        return chosen.authenticate(request)

    def _authenticator(self, documents: tuple[RequestAuthentication, ...]) -> Authenticator:
        known = self._by_documents.get(documents)
        if known is None:
            rules = [rule for document in documents for rule in document.rules]
            known = JwtRulesAuthenticator(
                rules,
                self._sources,
                clock=self._clock,
                senders=self._senders,
                capacity=self._capacity,
                identity_headers=self._identity_headers,
            )
            self._by_documents[documents] = known
        return known


def applies(
    document: RequestAuthentication, namespace: str, labels: Mapping[str, str] | None, root_namespace: str
) -> bool:
    """Say whether *document* applies to a workload of *namespace* (empty if unknown) with *labels* (None if unknown)."""
    if namespace and document.namespace not in {"", root_namespace, namespace}:
        return False
    return labels is None or all(labels.get(name) == value for name, value in document.match_labels)


def remote_location(rule: JwtRule) -> RemoteLocation | None:
    """Return where the keys of *rule* are fetched from; None when they are inline."""
    if rule.jwks:
        return None
    if rule.jwks_uri:
        return RemoteLocation(uri=rule.jwks_uri, timeout_s=rule.timeout_s)
    return RemoteLocation(issuer=rule.issuer, timeout_s=rule.timeout_s)


def key_sources(documents: Sequence[RequestAuthentication], ring: KeyRing) -> Mapping[JwtRule, KeySource]:
    """Return the keys for each rule; those that are remote from *ring*, which is told which ones are needed."""
    rules = [rule for document in documents for rule in document.rules]
    locations = {rule: location for rule in rules if (location := remote_location(rule)) is not None}
    remote = ring.use(locations.values())
    return {
        rule: remote[locations[rule]] if rule in locations else StaticKeys(parse_jwks(rule.jwks))
        for rule in rules
    }
