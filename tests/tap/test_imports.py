"""What does not touch Envoy's configuration does not wait half a second for `envoy-data-plane`."""

import subprocess
import sys

LIGHT = "envoy_tap.collector, envoy_tap.sink, envoy_tap.wire, envoy_tap.slot.slot, envoy_tap.slot.script"


def test_collecting_does_not_import_envoy_data_plane() -> None:
    code = (
        f"import sys, {LIGHT}; print([name for name in sys.modules if name.startswith('envoy_data_plane')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
