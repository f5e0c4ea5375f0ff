"""The versions of Envoy that are said to be tested."""

import re

from envoy_sidecar.doctor.examine import OLDEST
from tests.matrix import __main__ as matrix


def test_the_oldest_envoy_of_the_matrix_is_the_oldest_that_the_doctor_takes_and_ci_runs() -> None:
    oldest = list(matrix.locked())[-1]
    assert oldest == ".".join(map(str, OLDEST))
    assert f"ENVOY={oldest} " in (matrix.ROOT / ".ci" / "run").read_text("utf-8")


def test_every_version_is_held_to_a_hash_and_named_in_the_docs() -> None:
    said = (
        (matrix.ROOT / "docs" / "control-planes.md").read_text("utf-8").partition("## Versions of Envoy")[2]
    )
    for minor, requirement in matrix.locked().items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement)
        assert minor in said
