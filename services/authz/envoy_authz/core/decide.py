"""A set of policies, compiled once, that decides requests."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from envoy_authz.core.applicability import has_labels, namespace_of
from envoy_authz.core.authentication import ANONYMOUS, Authentication
from envoy_authz.core.compile import compile_policies
from envoy_authz.core.decision import (
    WOULD_MATCH_NONE,
    Ambiguity,
    Decision,
    Outcome,
    by_ambiguity,
    by_no_rule,
)
from envoy_authz.core.facts import Facts
from envoy_authz.core.index import Index
from envoy_authz.core.mutations import Changes, Mutator
from envoy_authz.core.options import Options, PathAmbiguity
from envoy_authz.core.paths import is_odd, normalizer, without_query
from envoy_authz.core.policy import Action, Operation, Policy
from envoy_authz.core.readings import (
    MOST_CHARACTERS,
    MOST_READINGS,
    differing,
    host_readings,
    is_odd_host,
    path_readings,
)
from envoy_authz.core.request import RequestView

_DEFAULTS = Options()
_DENY_AND_REPORT = {PathAmbiguity.DENY, PathAmbiguity.REPORT}


class PolicySet:
    """Compiled policies; immutable, so it may be shared and swapped freely.

    *default_action*, when given, wins over that of *options*. Raises ValueError for a pattern, a key or an expression
    that can't be read.
    """

    __slots__ = (
        *("default_action", "options", "policies"),
        *("_allow", "_deny", "_audit", "_dry_allow", "_dry_deny", "_mutating", "_mutator"),
        *("_ambiguous", "_every_host", "_guards", "_guards_hosts", "_normalize", "_otherwise"),
        *("_only_namespace", "_scoped", "_unmatched", "_uses_namespace"),
    )

    def __init__(
        self,
        policies: Iterable[Policy],
        *,
        default_action: Action | None = None,
        options: Options = _DEFAULTS,
    ) -> None:
        self.policies = tuple(policies)
        self.default_action = default_action or options.default_action
        self.options = options
        enforced = [policy for policy in self.policies if not policy.dry_run]
        dry = [policy for policy in self.policies if policy.dry_run]
        self._allow = self._index(enforced, Action.ALLOW) or Index(())
        self._deny = self._index(enforced, Action.DENY)
        self._audit = self._index(enforced, Action.AUDIT)
        self._dry_allow = self._index(dry, Action.ALLOW)
        self._dry_deny = self._index(dry, Action.DENY)
        changing = [policy for policy in enforced if policy.action is Action.ALLOW and policy.mutation]
        self._mutating = self._index(changing, Action.ALLOW)
        self._mutator = Mutator({one.full_name: one.mutation for one in changing if one.mutation})
        self._normalize = normalizer(options.normalization)
        self._guards = options.path_ambiguity in _DENY_AND_REPORT
        self._guards_hosts = self._guards and any(
            operation.hosts or operation.not_hosts for operation in _operations(enforced, Action.DENY)
        )
        spared = self._guards and any(
            operation.not_hosts for operation in _operations(enforced, Action.ALLOW)
        )
        self._every_host = self._index(enforced, Action.ALLOW, every_host=True) if spared else None
        self._ambiguous: dict[tuple[str, Decision], Decision] = {}
        namespaces = {policy.namespace for policy in self.policies} - {"", options.root_namespace}
        self._uses_namespace = bool(namespaces)
        self._only_namespace = next(iter(namespaces)) if len(namespaces) == 1 else ""
        self._prepare_default(enforced)

    def decide(self, request: RequestView, authentication: Authentication = ANONYMOUS) -> Decision:
        """Return the decision for *request*: DENY policies first, then ALLOW, then the default.

        Decisions are objects of this set: the same rule always gives the same object.
        """
        return self.evaluate(request, authentication).decision

    def evaluate(
        self,
        request: RequestView,
        authentication: Authentication = ANONYMOUS,
        allowed: Decision | None = None,
    ) -> Outcome:
        """Return the decision for *request*, and all that goes with it. Never raises for what a request may hold.

        *allowed* stands for what ALLOW policies say, if it is given: DENY policies and the guard still deny.
        """
        received = request.path.partition("?")[0] if "?" in request.path else request.path
        path = without_query(received)
        odd = is_odd(path) or path is not received
        facts = self._facts(request, self._normalize(path) if odd else path, authentication)
        decision = self._enforced(facts, allowed)
        ambiguity = None
        if decision.allowed and self._guards:
            ambiguity = self._guarded(facts, received if odd else "", allowed)
        if ambiguity is not None and self.options.path_ambiguity is PathAmbiguity.DENY:
            decision = self._by(ambiguity)
        observed = self._observed(facts, decision)
        changes = self._changes(facts) if decision.allowed and self._mutating is not None else None
        return Outcome(decision, observed, ambiguity, changes)

    def _index(self, policies: Sequence[Policy], action: Action, *, every_host: bool = False) -> Index | None:
        some = [policy for policy in policies if policy.action is action]
        if not some:
            return None
        return Index(compile_policies(some, self.options.root_namespace, every_host=every_host))

    def _prepare_default(self, enforced: Sequence[Policy]) -> None:
        any_policies = bool(self.policies)
        self._unmatched = by_no_rule(allowed=False, any_policies=any_policies)
        # With an ALLOW policy for every workload, one has to match; others only count where they apply.
        allow = [policy for policy in enforced if policy.action is Action.ALLOW]
        everywhere = {"", self.options.root_namespace, self._only_namespace}
        always = any(policy.namespace in everywhere and not policy.selector for policy in allow)
        self._scoped: Sequence[Policy] = ()
        self._otherwise = self._unmatched
        if self.default_action is Action.ALLOW and not always:
            self._otherwise = by_no_rule(allowed=True, any_policies=any_policies)
            self._scoped = allow

    def facts(self, request: RequestView, authentication: Authentication = ANONYMOUS) -> Facts:
        """Return what policies compare of *request*, its path normalized: for tools that say why."""
        path = without_query(request.path)
        odd = is_odd(path) or "#" in request.path
        return self._facts(request, self._normalize(path) if odd else path, authentication)

    def _facts(self, request: RequestView, path: str, authentication: Authentication) -> Facts:
        namespace = namespace_of(request, self._only_namespace) if self._uses_namespace else ""
        facts = Facts(request, path, namespace, authentication.tokens, self.options.trusted_hops)
        if self.options.identify is not None:
            facts.caller = self.options.identify(request)
        return facts

    def _enforced(self, facts: Facts, given: Decision | None = None) -> Decision:
        decided = self._denied(facts) or given or self._allowed(facts)
        if decided is not None:
            return decided
        if self._scoped and any(self._applies(policy, facts) for policy in self._scoped):
            return self._unmatched
        return self._otherwise

    def _denied(self, facts: Facts) -> Decision | None:
        """Return the decision of a DENY rule that is met by all tokens together, or by one of them alone."""
        if self._deny is None:
            return None
        denied = self._deny.find(facts)
        if denied is None and len(facts.tokens) > 1:
            return next(filter(None, map(self._deny.find, facts.by_token())), None)
        return denied

    def _allowed(self, facts: Facts) -> Decision | None:
        """Return the decision of an ALLOW rule that is met by all tokens together, and by one of them alone.

        So no rule is met by the issuer of one token and a claim of another.
        """
        allowed = self._allow.find(facts)
        if allowed is not None and len(facts.tokens) > 1:
            one = self._allowing(facts)
            return None if one is None else self._allow.find(one)
        return allowed

    def _allowing(self, facts: Facts) -> Facts | None:
        """Return the facts of the one of several tokens that an ALLOW rule is met by."""
        if len(facts.tokens) <= 1:
            return facts
        return next((one for one in facts.by_token() if self._allow.find(one) is not None), None)

    def _applies(self, policy: Policy, facts: Facts) -> bool:
        somewhere = policy.namespace not in {"", self.options.root_namespace}
        if somewhere and facts.namespace not in {"", policy.namespace}:
            return False
        return not policy.selector or has_labels(facts.request, policy.selector, unknown=True)

    def _guarded(self, facts: Facts, received: str, allowed: Decision | None) -> Ambiguity | None:
        """Return how else the request may be read, and be denied; *received* is a path that is odd, or empty."""
        if len(received) > MOST_CHARACTERS:
            return Ambiguity("path", facts.path, "too long to be read in every way", self._unmatched)
        if received:
            other = differing(
                path_readings(received),
                facts.path,
                lambda path: not self._enforced(facts.at_path(path), allowed).allowed,
            )
            if other is not None:
                denied = self._enforced(facts.at_path(other), allowed)
                return Ambiguity("path", facts.path, other, denied)
        if (self._guards_hosts or self._every_host is not None) and is_odd_host(facts.host):
            return self._guarded_host(facts, received, allowed)
        return None

    def _guarded_host(self, facts: Facts, received: str, allowed: Decision | None) -> Ambiguity | None:
        others = [host for host in dict.fromkeys(host_readings(facts.host)) if host != facts.host]
        if self._guards_hosts:
            most = MOST_READINGS if received else 0
            for path in dict.fromkeys((facts.path, *islice(path_readings(received), most))):
                again = facts.at_path(path)
                for host in others:
                    denied = self._denied(again.at_host(host))
                    if denied is not None:
                        return Ambiguity("host", facts.host, host, denied)
        if allowed is not None or self._every_host is None or not others:
            return None
        # What only an ALLOW rule's `notHosts` let pass, for the way in which it is written.
        spared = self._allow.find(facts) is not None and self._every_host.find(facts) is None
        return Ambiguity("host", facts.host, others[0], self._unmatched) if spared else None

    def _by(self, ambiguity: Ambiguity) -> Decision:
        key = (ambiguity.what, ambiguity.denied)
        return self._ambiguous.setdefault(key, by_ambiguity(*key))

    def _observed(self, facts: Facts, decision: Decision) -> tuple[Decision, ...]:
        if self._audit is None and self._dry_allow is None and self._dry_deny is None:
            return ()
        observed: list[Decision] = self._audit.find_all(facts) if self._audit is not None else []
        would_deny = self._dry_deny.find(facts) if self._dry_deny is not None else None
        if would_deny is not None:
            observed.append(would_deny)
        elif self._dry_allow is not None:
            would_allow = self._dry_allow.find(facts)
            if would_allow is not None:
                observed.append(would_allow)
            elif decision.allowed and not decision.policy:
                observed.append(WOULD_MATCH_NONE)
        return tuple(observed)

    def _changes(self, facts: Facts) -> Changes | None:
        assert self._mutating is not None  # noqa: S101 - the caller asked
        one = self._allowing(facts)
        matching = [] if one is None else self._mutating.find_all(one)
        return self._mutator.changes([found.policy for found in matching], one or facts)


def _operations(policies: Iterable[Policy], action: Action) -> Iterator[Operation]:
    for policy in policies:
        if policy.action is action:
            for rule in policy.rules:
                yield from rule.operations
