"""What the API says when it refuses: `{"error": {"path", "message", "hint"}}` with the fitting status."""

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from envoy_tap.access import DeniedError
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.archive import NoExchangeError
from envoy_tap.core.session import SessionError
from envoy_tap.watching import TooManyWatchersError

_BUSY = 503
LOG = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is refused with *status*; *more* goes beside the message (`hint`, `path`)."""

    def __init__(self, status: int, message: str, **more: str) -> None:
        self.response = JSONAnswer({"error": {"message": message, **more}}, status)
        super().__init__(message)


def told(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return *answer*, whose exceptions become refusals."""

    async def telling(request: Request) -> Response:
        try:
            return await answer(request)
        except RefusedError as refused:
            LOG.warning("%s %s was refused: %s", request.method, request.url.path, refused)
            return refused.response
        except SessionError as error:
            return JSONAnswer({"error": as_data(error)}, 403 if isinstance(error, DeniedError) else 422)
        except (KeyError, TooManyWatchersError, OSError) as error:
            return _failure(request, error)

    return telling


def as_data(error: SessionError) -> dict[str, object]:
    """Return *error* as JSON data."""
    found: dict[str, object] = {"path": error.path, "message": error.message, "hint": error.hint}
    return found if error.position is None else {**found, "position": error.position}


def _failure(request: Request, error: Exception) -> Response:
    match error:
        case KeyError():
            what = "exchange" if isinstance(error, NoExchangeError) else "session"
            return _refusal(404, f"there is no such {what}")
        case TooManyWatchersError():
            return _refusal(_BUSY, str(error))
        case _:
            LOG.error("%s %s failed: %s", request.method, request.url.path, error)
            return _refusal(507, f"the store refused: {getattr(error, 'strerror', None) or error}")


def _refusal(status: int, message: str) -> Response:
    headers = {"retry-after": "5"} if status == _BUSY else None
    return JSONAnswer({"error": {"message": message}}, status, headers)
