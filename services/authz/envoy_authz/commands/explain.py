"""`envoy-authz explain`: how each policy and rule looks at a request, what decides it, and what would turn that around."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from envoy_authz.authenticators.workloads import workload_of_request
from envoy_authz.commands.asked import Asked, RequestOptions
from envoy_authz.commands.dimensions import Value, written
from envoy_authz.commands.flip import Flip, Search, decide, smallest_flips
from envoy_authz.commands.judge import Verdict, trusted
from envoy_authz.commands.output import Format, console, print_json, table
from envoy_authz.commands.places import Places
from envoy_authz.commands.shown import as_data, as_options
from envoy_authz.commands.source import Deciding, Source, load
from envoy_authz.commands.walk import Part, PolicyWalk, RuleWalk, walk
from envoy_authz.core.decision import Outcome
from envoy_authz.core.request import Request
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS


def explain(
    paths: Sequence[Path], request: RequestOptions, form: Format, *, deciding: Deciding | None, every: bool
) -> int:
    """Print why *request* is decided as it is; return 0 if it is allowed, 1 if not.

    With *every*, rules are shown that have nothing to do with it. Raises SettingsError.
    """
    source = load(paths, deciding)
    asked = request.read(source)
    verdict = decide(source.policies, asked)
    search = smallest_flips(source.policies, asked, trusted(source))
    outcome = source.policies.evaluate(asked.request, asked.authentication)
    walks = walk(source.policies, asked)
    explained = _Explained(source, asked, verdict, outcome, walks, search, Places(source.loaded.documents))
    if form == "json":
        print_json(explained.data())
    else:
        explained.print(every=every)
    return EXIT_CLEAN if verdict.allowed else EXIT_FINDINGS


@dataclass(frozen=True, slots=True)
class _Explained:
    source: Source
    asked: Asked
    verdict: Verdict
    outcome: Outcome
    walks: Sequence[PolicyWalk]
    search: Search
    places: Places

    @property
    def at(self) -> str:
        """Where the rule stands that decided."""
        return "" if self.verdict.rule is None else self.places.of(self.verdict.policy, self.verdict.rule)

    def data(self) -> Mapping[str, object]:
        changes = self.outcome.changes if self.verdict.allowed else None
        return {
            **self.verdict.as_data(),
            "at": self.at,
            "status": self.verdict.status,
            "request": as_data(self.asked),
            "compared": dict(self._compared()),
            "policies": [self._policy(one) for one in self.walks],
            "observed": [one.message for one in self.outcome.observed],
            "mutations": None
            if changes is None
            else {
                name: list(value) if not isinstance(value, Mapping) else dict(value)
                for name, value in changes._asdict().items()
            },
            "flips": [
                {
                    "changes": [
                        {"what": written(turn.name), "from": turn.before, "to": turn.after}
                        for turn in flip.turns
                    ],
                    **flip.verdict.as_data(),
                    "explain": as_options(flip.asked),
                }
                for flip in self.search.flips
            ],
            "requests_tried": self.search.requests,
        }

    def _compared(self) -> Iterator[tuple[str, str]]:
        """Yield what policies compare that is not as it was asked, and where it comes from."""
        request, policies = self.asked.request, self.source.policies
        facts = policies.facts(request, self.asked.authentication)
        yield "path", facts.path
        yield "caller", facts.caller.removeprefix("spiffe://") or "nobody: no identity was shown"
        tokens = ", ".join(facts.request_principals)
        refusal = self.asked.authentication.refusal
        if refusal is not None:
            tokens = f"refused: {refusal.message}"
        yield "token", tokens or "none"
        if any(policy.namespace or policy.selector for policy in policies.policies):
            yield "namespace", _namespace(request, facts.namespace)
            yield "labels", _labels(request)
        ambiguity = self.outcome.ambiguity
        if ambiguity is not None:
            yield f"other {ambiguity.what}", f"{ambiguity.other}, which would be {ambiguity.denied.message}"

    def _policy(self, one: PolicyWalk) -> Mapping[str, object]:
        return {
            "policy": one.policy.full_name,
            "action": one.policy.action.value,
            "dry_run": one.policy.dry_run,
            "applies": one.applies,
            "scope": one.scope,
            "rules": [
                {
                    "rule": rule.number,
                    "at": self.places.at(one.policy, rule.number),
                    "matched": rule.matched,
                    "failed": [_part(part) for part in rule.failed],
                    "parts": [_part(part) for part in _parts(rule)],
                }
                for rule in one.rules
            ],
        }

    def print(self, *, every: bool) -> None:
        out = console()
        place = f" at {self.at}" if self.at else ""
        out.print(
            Text(f"{self.verdict.message}{place}", "bold green" if self.verdict.allowed else "bold red"),
            soft_wrap=True,
        )
        for name, value in self._compared():
            out.print(Text(f"  {name:<10} {value}"), soft_wrap=True)
        out.print()
        self._print_rules(out, every=every)
        for one in self.outcome.observed:
            out.print(Text(f"not enforced: {one.message}"), soft_wrap=True)
        self._print_changes(out)
        self._print_flips(out)

    def _print_rules(self, out: Console, *, every: bool) -> None:
        rows: list[tuple[object, ...]] = []
        left_out = 0
        few = every or sum(len(one.rules) for one in self.walks) <= _FEW
        for one in self.walks:
            policy = (
                f"{one.policy.action.value}{' (dry run)' if one.policy.dry_run else ''}",
                one.policy.full_name,
            )
            if not one.applies:
                rows.extend([(*policy, "", "does not apply", one.scope)] if few else [])
                left_out += not few
                continue
            if not one.rules:
                rows.append((*policy, "", "no rule", "it matches nothing"))
            for rule in one.rules:
                if not few and len(rule.failed) > 1:
                    left_out += 1
                    continue
                why = "\n".join(map(_why, rule.failed))
                rows.append((*policy, rule.number, "matches" if rule.matched else "no", why))
        out.print(table("", ("action", "policy", "rule", "", "what failed"), rows))
        if left_out:
            out.print(Text(f"and {left_out} about something else, or for other workloads: --all shows them"))
        out.print()

    def _print_changes(self, out: Console) -> None:
        changes = self.outcome.changes
        if changes is None or not self.verdict.allowed:
            return
        for name, value in (*changes.set_headers, *changes.set_query):
            out.print(Text(f"sets {name} to {value}"), soft_wrap=True)
        for name in (*changes.remove_headers, *changes.remove_query):
            out.print(Text(f"removes {name}"), soft_wrap=True)
        for name, item in changes.metadata.items():
            out.print(Text(f"metadata {name} = {item}"), soft_wrap=True)

    def _print_flips(self, out: Console) -> None:
        verb = "denied" if self.verdict.allowed else "allowed"
        if not self.search.flips:
            out.print(Text(f"nothing of {self.search.requests} changes tried gets it {verb}"))
            return
        for place, flip in enumerate(self.search.flips):
            lead = f"to get it {verb}" if place == 0 else "or"
            out.print(Text(f"{lead}: {_turns(flip)}"), soft_wrap=True)
            out.print(Text(f"  then {flip.verdict.message}"), soft_wrap=True)


_FEW = 20


def _parts(rule: RuleWalk) -> Iterator[Part]:
    for alternatives in (rule.sources, rule.operations):
        for parts in alternatives:
            yield from parts
    yield from rule.conditions


def _part(part: Part) -> Mapping[str, object]:
    return {"where": part.where, "wanted": part.wanted, "seen": part.seen, "holds": part.holds}


def _why(part: Part) -> str:
    return f"{part.where}: wants {part.wanted}; is {part.seen}"


def _turns(flip: Flip) -> str:
    return ", and ".join(
        f"{written(turn.name)} {_value(turn.after)} instead of {_value(turn.before)}" for turn in flip.turns
    )


def _value(value: Value) -> str:
    return "nothing" if value is None else ", ".join(value) if isinstance(value, tuple) else str(value)


def _namespace(request: Request, namespace: str) -> str:
    if request.context.get("namespace"):
        return f"{namespace or request.context['namespace']}, by context_extensions"
    if workload_of_request(request)[0]:
        return f"{namespace or workload_of_request(request)[0]}, by the identity of Envoy's own certificate"
    if namespace:
        return f"{namespace}: the request does not say, and it is the only one that policies have"
    return "unknown: neither context_extensions nor Envoy's own certificate says"


def _labels(request: Request) -> str:
    labels = workload_of_request(request)[1]
    if labels is None:
        return "unknown: neither context_extensions nor Envoy's node says"
    written_in = {name.removeprefix("labels.") for name in request.context if name.startswith("labels.")}
    return ", ".join(
        f"{name}={value} by {'context_extensions' if name in written_in else 'node'}"
        for name, value in sorted(labels.items())
    )
