"""The JSON that the API answers with."""

import json
from typing import Any

from starlette.responses import JSONResponse


class JSONAnswer(JSONResponse):
    r"""In ASCII: a lone surrogate, which `\ud800` in captured JSON is, has no UTF-8, and must not cost the answer."""

    def render(self, content: Any) -> bytes:
        """Return *content* as JSON."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
