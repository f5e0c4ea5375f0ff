"""The state of a window as one number, so that a store need not know which algorithm it keeps.

Its integer part, in units of SCALE, is the microsecond from which on the bucket is as new, as with a token bucket's TAT
in units of its own scale. Below that are two counts: what was used in the window before, and in this one.
"""

DUE = 128
"""How many bits are below the microsecond."""
SCALE = 1 << DUE
_PREVIOUS = 64
COUNT = (1 << _PREVIOUS) - 1
"""The bits of what was used in this window."""
MAX_USED = 2**52 - 1
"""A count stays here: below 2**53, Lua's exact integers, and above anything that limits hold (2**32)."""


def join(due_us: int, used: int, previous: int = 0) -> int:
    """Return the state of a window that is as new at *due_us*; 0 when nothing was used."""
    return (due_us << DUE) | (previous << _PREVIOUS) | used if used or previous else 0


def split(state: int) -> tuple[int, int, int]:
    """Return (due_us, used, previous) of a state."""
    return state >> DUE, state & COUNT, (state >> _PREVIOUS) & COUNT
