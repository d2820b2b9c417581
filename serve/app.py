"""The application for `serve build serve.app:app`, configured by SIGNATLAS_INDEX and SIGNATLAS_API_KEY."""

from __future__ import annotations

import os

from serve.builder import build
from serve.config import key_digest

_key = os.environ.get("SIGNATLAS_API_KEY")
app = build(
    {"index": os.environ.get("SIGNATLAS_INDEX", "indexes/dgs"), "api_key_sha256": key_digest(_key) if _key else None}
)
