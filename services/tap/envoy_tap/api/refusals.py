"""What the API says when it refuses: `{"error": {"path", "message", "hint"}}` with the fitting status."""

import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from envoy_tap.core.session import SessionError
from envoy_tap.watching import TooManyWatchersError

LOG = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request that is refused with *status*; *more* goes beside the message (`hint`, `path`)."""

    def __init__(self, status: int, message: str, **more: str) -> None:
        self.response = JSONResponse({"error": {"message": message, **more}}, status)
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
            return JSONResponse({"error": as_data(error)}, 422)
        except KeyError:
            what = "exchange" if "seq" in request.path_params else "session"
            return JSONResponse({"error": {"message": f"there is no such {what}"}}, 404)
        except TooManyWatchersError as error:
            return JSONResponse({"error": {"message": str(error)}}, 503, {"retry-after": "5"})
        except OSError as error:
            LOG.error("%s %s failed: %s", request.method, request.url.path, error)
            return JSONResponse({"error": {"message": f"the store refused: {error.strerror or error}"}}, 507)

    return telling


def as_data(error: SessionError) -> dict[str, object]:
    """Return *error* as JSON data."""
    found: dict[str, object] = {"path": error.path, "message": error.message, "hint": error.hint}
    return found if error.position is None else {**found, "position": error.position}
