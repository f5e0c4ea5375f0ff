"""`python -m tests.fuzz.authz_check [CORPUS] [-max_total_time=S]`: bytes into the authz handler, guided by coverage.

Whatever comes in, a decision comes out: never an exception, never an RPC error, never the empty answer, which allows;
and never `internal_error`, which would be a fault of ours. Options are libFuzzer's.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["envoy_authz"]):
    from envoy_authz.authenticators.request_authentication import RequestAuthenticator
    from envoy_authz.config import load_policies
    from envoy_authz.core import Options, PolicySet
    from envoy_authz.handler import Authorizer
    from envoy_authz.identity.callers import Callers, Peers, Proof
    from envoy_authz.tokens.sources import KeyRing
from envoy_sidecar.pb.authz_pb2 import CheckResponse
from envoy_sidecar.transport.port import Call

POLICIES = Path(__file__).with_name("authz_policies.yaml")


def make_authorizer() -> Authorizer:
    """Return a handler with a policy of every kind, token rules, and callers known by certificate."""
    loaded = load_policies([POLICIES])
    callers = Callers(Peers(Proof.CERTIFICATE, forwarded_by=frozenset({"spiffe://td/edge"})))
    options = Options(trusted_hops=1, identify=callers.identify)
    authenticator = RequestAuthenticator(loaded.authentications, KeyRing())
    return Authorizer(PolicySet(loaded.policies, options=options), authenticator=authenticator)


class Target:
    """One handler for all inputs, as in a service."""

    def __init__(self) -> None:
        self._authorizer = make_authorizer()

    def __call__(self, data: bytes) -> None:
        (answer,) = self._authorizer([Call(data)])
        if not isinstance(answer, bytes):
            raise TypeError(f"an RPC error: {answer}")
        response = CheckResponse.FromString(answer)
        if response.HasField("ok_response") is not (response.status.code == 0):
            raise ValueError("an answer that Envoy takes for another one")
        if self._authorizer.decisions.value(("deny", "", "internal_error")):
            raise ValueError("an internal error")


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough."""
    atheris.Setup(sys.argv, Target())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
