"""How every command reaches the service: where, as whom, and what is said when it refuses."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_tap.client import ApiError, SessionClient, check_admin
from envoy_tap.commands.groups import SERVICE
from envoy_tap.commands.output import UsageError, underlined
from envoy_tap.settings import DEFAULT_ADMIN

TOKEN_VARIABLE = "TAP_TOKEN"  # noqa: S105 -- the name, not the token
EXIT_INTERRUPTED = 130
_ID = re.compile(r"[0-9a-f]{12}")
_SOME_OF_ID = re.compile(r"[0-9a-f]{3,11}")
_LAST = "last"


def _is_admin(_type: Any, value: str) -> None:
    check_admin(value)


@Parameter(name="*", group=SERVICE)
@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The tap service that is asked. A token is never an option: others on the machine see the command line."""

    admin: Annotated[
        str,
        Parameter(validator=_is_admin, help="Its admin address: HOST:PORT, unix:PATH or https://HOST."),
    ] = DEFAULT_ADMIN
    token_file: Annotated[
        Path | None, Parameter(help="File that holds the bearer token; TAP_TOKEN holds the token itself.")
    ] = None

    def client(self) -> SessionClient:
        """Return what asks the service; raises UsageError for a token that cannot be read."""
        return SessionClient(self.admin, self._token())

    def _token(self) -> str | None:
        if self.token_file is None:
            found = os.environ.get(TOKEN_VARIABLE, "").strip()
        else:
            try:
                found = self.token_file.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                said = error.strerror if isinstance(error, OSError) else "is no token"
                raise UsageError(f"--token-file {self.token_file}: {said}") from None
            if not found:
                raise UsageError(f"--token-file {self.token_file}: is empty")
        if not found.isascii() or not found.isprintable():
            raise UsageError("the token is not printable ASCII")
        return found or None


LOCAL = Service()


def ask(
    service: Service, do: Callable[[SessionClient], int], *, predicate: str | Callable[[], str] = ""
) -> int:
    """Run *do* and return its exit code; what goes wrong is said on stderr: 1 if the service refuses, 2 without an answer.

    *predicate* is what was sent as one, so that the service's complaint can be shown in it.
    """
    try:
        return do(service.client())
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who reads has had enough, as `head` has. What is still buffered must not be written at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLEAN
    except UsageError as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        return EXIT_USAGE
    except ApiError as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        if error.position is not None and error.path in {"predicate", "filter"} and predicate:
            sent = predicate if isinstance(predicate, str) else predicate()
            sys.stderr.write(underlined(sent, error.position) + "\n")
        if error.status == 401:  # noqa: PLR2004 -- RFC 9110, 15.5.2
            sys.stderr.write(f"  set {TOKEN_VARIABLE}, or give --token-file FILE\n")
        return EXIT_USAGE if error.status is None else EXIT_FINDINGS


def named(client: SessionClient, session: str) -> str:
    """Return the id of the session that is meant: by its id, by how that begins, or as `last`; raises UsageError."""
    if _ID.fullmatch(session):
        return session
    if session != _LAST and not _SOME_OF_ID.fullmatch(session):
        raise UsageError(f"{session!r} is not the id of a session; `envoy-tap list` shows them")
    known = [each["id"] for each in client.sessions()]
    found = known[-1:] if session == _LAST else [each for each in known if each.startswith(session)]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} sessions begin with {session}" if known else "there are no sessions"
        )
    return str(found[0])
