"""What only newer Envoys have. A test of it is skipped on an older one; `docs/control-planes.md` tells users the same."""

from dataclasses import dataclass

import pytest

from envoy_demo.envoy import version


@dataclass(frozen=True, slots=True)
class Newer:
    """A *fact* about Envoy that holds *since* a minor version; the docs have it in the same words."""

    since: tuple[int, int]
    fact: str

    @property
    def minor(self) -> str:
        return ".".join(map(str, self.since))

    @property
    def is_here(self) -> bool:
        """Whether it holds in the Envoy that is run."""
        return version() >= self.since

    @property
    def needed(self) -> pytest.MarkDecorator:
        """The mark of a test that can't be without it."""
        return pytest.mark.skipif(not self.is_here, reason=f"needs Envoy {self.minor}: {self.fact}")


RETRY_AFTER = Newer((1, 40), "`enable_retry_after_header` in the ratelimit filter")
LIMIT_BESIDE_COST = Newer((1, 39), "`limit` in the `rate_limits` of the ratelimit filter's part of a route")
HITS_BACK = Newer((1, 38), "`is_negative_hits` in `hits_addend`")
# To call it for them was CVE-2025-30157 (Envoy's #38818, undone by
# `envoy.reloadable_features.skip_ext_proc_on_local_reply: false`), until #41769 allowed it again.
OWN_ANSWERS = Newer(
    (1, 37), "`ext_proc` is shown the answers that Envoy gives itself, and their response flags"
)
ALL = (RETRY_AFTER, LIMIT_BESIDE_COST, HITS_BACK, OWN_ANSWERS)
