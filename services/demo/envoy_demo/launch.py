"""Become another program that dies when its parent does: `launch.py PARENT_PID PROGRAM ARGUMENT...`.

Its own small program, run as a script by an isolated interpreter (20 ms), because the alternative, Popen's
preexec_fn, runs Python between fork and exec, which can deadlock in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL on the parent's death, then exec; exits 127 when PROGRAM can't be run."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        # The parent died before the request was in place, so nobody will send the signal.
        sys.exit(f"the parent {parent_pid} is gone")
    # Python ignores these two for itself, and an ignored signal stays ignored after exec.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(program, sys.argv[2:])  # noqa: S606 - becoming the given program is what this one is for
    except OSError as error:
        print(f"cannot run {program}: {error}", file=sys.stderr)  # noqa: T201 - stderr is the child's log
        sys.exit(127)


if __name__ == "__main__":
    main()
