"""Index versions on disk and search in them: signs by a recording, sentences by a text or a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signatlas.lazy import lazy_exports

if TYPE_CHECKING:
    from signatlas.retrieval.confidence import Recordings, Selection
    from signatlas.retrieval.faiss_index import Effort
    from signatlas.retrieval.filters import Filter
    from signatlas.retrieval.index_version import (
        CorpusPart,
        IndexVersion,
        activate,
        as_rows,
        versions,
        with_attributes,
    )
    from signatlas.retrieval.index_version import write as write_index_version
    from signatlas.retrieval.live_search import LiveSearch
    from signatlas.retrieval.operation_log.log import Log as OperationLog
    from signatlas.retrieval.operation_log.record import AddedSign, Consent
    from signatlas.retrieval.operation_log.writer import Writer as LogWriter
    from signatlas.retrieval.search import Hit, SignSearch
    from signatlas.retrieval.sentences import SentenceResult, SentenceSearch

__all__ = [
    "AddedSign",
    "Consent",
    "CorpusPart",
    "Effort",
    "Filter",
    "Hit",
    "IndexVersion",
    "LiveSearch",
    "LogWriter",
    "OperationLog",
    "Recordings",
    "Selection",
    "SentenceResult",
    "SentenceSearch",
    "SignSearch",
    "activate",
    "as_rows",
    "versions",
    "with_attributes",
    "write_index_version",
]

_TARGETS = {
    "AddedSign": ("operation_log.record", "AddedSign"),
    "Consent": ("operation_log.record", "Consent"),
    "CorpusPart": ("index_version", "CorpusPart"),
    "Effort": ("faiss_index", "Effort"),
    "Filter": ("filters", "Filter"),
    "Hit": ("search", "Hit"),
    "IndexVersion": ("index_version", "IndexVersion"),
    "LiveSearch": ("live_search", "LiveSearch"),
    "LogWriter": ("operation_log.writer", "Writer"),
    "OperationLog": ("operation_log.log", "Log"),
    "Recordings": ("confidence", "Recordings"),
    "Selection": ("confidence", "Selection"),
    "SentenceResult": ("sentences", "SentenceResult"),
    "SentenceSearch": ("sentences", "SentenceSearch"),
    "SignSearch": ("search", "SignSearch"),
    "activate": ("index_version", "activate"),
    "as_rows": ("index_version", "as_rows"),
    "versions": ("index_version", "versions"),
    "with_attributes": ("index_version", "with_attributes"),
    "write_index_version": ("index_version", "write"),
}

__getattr__ = lazy_exports(__name__, _TARGETS)
