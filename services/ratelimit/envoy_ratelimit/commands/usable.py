"""Which of the options that `migrate` shows `serve` would refuse: a deployment is to learn that before it swaps."""

from collections.abc import Sequence
from dataclasses import replace

from cyclopts import App, CycloptsError

from envoy_ratelimit.migrate import STORES, Mapped
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.stores import open_store
from envoy_sidecar.settings import SettingsError

_PLAIN = App(name="envoy-ratelimit")
"""Without the environment of this process, which need not be the one that is looked at."""


@_PLAIN.command
def serve(settings: RatelimitSettings | None = None) -> None:
    """Take the options of the real one."""
    del settings


def usable(found: Sequence[Mapped]) -> list[Mapped]:
    """Return *found*, with those that `serve` would refuse as `unsupported`, and why."""
    checked = [_store_checked(mapped) for mapped in found]
    for _ in found:
        refused = _refused(checked)
        if refused is None:
            break
        name, why = refused
        checked = [
            replace(mapped, kind="unsupported", note=why) if _written(mapped) == name else mapped
            for mapped in checked
        ]
    return checked


def _refused(found: Sequence[Mapped]) -> tuple[str, str] | None:
    """Return the first option that cannot be read, and why."""
    options = [
        f"{_written(mapped)}={value}"
        for mapped in found
        if mapped.option and mapped.kind != "unsupported"
        for value in mapped.values
    ]
    try:
        _PLAIN.parse_args(["serve", *options], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        if error.argument is not None:
            return error.argument.name, " ".join(str(error).split())
    except SettingsError:
        # What only some of the options together are wrong in: it may be for want of those that were taken out.
        return None
    return None


def _store_checked(mapped: Mapped) -> Mapped:
    if mapped.option not in STORES or mapped.kind == "unsupported":
        return mapped
    try:
        for url in mapped.values:
            open_store(url).close()
    except ValueError as error:
        return replace(mapped, kind="unsupported", note=str(error))
    return mapped


def _written(mapped: Mapped) -> str:
    return f"--{mapped.option.replace('_', '-')}"
