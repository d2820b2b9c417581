"""Search requests to a running service."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from signatlas.errors import UserError

if TYPE_CHECKING:
    from signatlas.retrieval.queries import PoseQuery

KEY = "SIGNATLAS_API_KEY"
TIMEOUT_S = 60


def search_poses(url: str, query: PoseQuery, **options: Any) -> dict[str, Any]:
    """Search by poses and return the service's answer. Raises UserError."""
    from signatlas.pose.serialization import to_json

    body = {**options, "poses": to_json(query.poses)}
    body |= {name: getattr(query, name) for name in ("width", "height", "source") if getattr(query, name) is not None}
    return search(url, body)


def search(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send `POST /v1/search` and return the answer. Raises UserError."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url {url} is not an address such as http://127.0.0.1:8000")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{url.rstrip('/')}/v1/search", json.dumps(body, allow_nan=False).encode(), headers)
    try:
        with urlopen(request, timeout=TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        raise UserError(f"{url} answered {error.code}: {_detail(error.read())}") from error
    except (URLError, TimeoutError) as error:
        raise UserError(
            f"no service at {url} ({getattr(error, 'reason', error)}); start one: 'signatlas serve'"
        ) from error
    except ValueError as error:
        raise UserError(f"{url} is not a signatlas service: its answer is not JSON") from error
    return answer


def _detail(content: bytes) -> str:
    """Return the detail or title of RFC 9457 problem details."""
    try:
        problem = json.loads(content)
        return str(problem.get("detail") or problem.get("title"))
    except (ValueError, AttributeError):
        return content[:200].decode(errors="replace")
