"""TREC run and qrels files, which ranx and trec_eval read too.

The format allows no spaces in ids: white space and ``%`` are percent-encoded (UTF-8), other characters are kept.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from signatlas.errors import UserError
from signatlas.evaluation.ranking import Ranking
from signatlas.files import write_text_atomically


def escape(id: str) -> str:
    """Return an id without white space, as it is written to a TREC file."""
    return re.sub(r"[%\s]", lambda match: quote(match.group(), safe=""), id)


def write_run(ranking: Ranking, path: str | os.PathLike[str], *, tag: str = "signatlas") -> None:
    """Write ``query Q0 item rank score tag`` lines of the full ranking, gzipped (name it ``*.run.gz``).

    Among equal scores irrelevant items come first, as in the metrics; scores keep all their digits.
    """
    digits = 9 if ranking.scores.dtype == np.float32 else 17
    order = np.lexsort((ranking.relevant, -ranking.scores), axis=-1)
    escaped = {id: escape(id) for id in {*ranking.gallery_ids.ravel(), *ranking.query_ids}}
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with open(partial, "wb") as raw, gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as stream:
            for q, query in enumerate(ranking.query_ids):
                ids, scores = ranking.gallery_ids[q, order[q]], ranking.scores[q, order[q]].tolist()
                lines = [
                    f"{escaped[query]} Q0 {escaped[item]} {rank} {score:.{digits}g} {tag}\n"
                    for rank, (item, score) in enumerate(zip(ids, scores, strict=True), start=1)
                ]
                stream.write("".join(lines).encode())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_qrels(ranking: Ranking, path: str | os.PathLike[str]) -> None:
    """Write a ``query 0 item 1`` line for each relevant item."""
    lines = [
        f"{escape(query)} 0 {escape(item)} 1\n"
        for query, ids, relevant in zip(ranking.query_ids, ranking.gallery_ids, ranking.relevant, strict=True)
        for item in ids[relevant]
    ]
    write_text_atomically(path, "".join(lines))


def read_ranking(run: str | os.PathLike[str], qrels: str | os.PathLike[str]) -> Ranking:
    """Return the ranking of a run and its qrels; its metrics equal those before writing.

    The files hold no glosses: ``query_glosses`` is None throughout. Raises UserError for unreadable lines and for
    queries whose galleries differ in size.
    """
    relevant_items: dict[str, set[str]] = {}
    for query, _, item, level in _fields(qrels, 4):
        if int(level) > 0:
            relevant_items.setdefault(query, set()).add(item)
    items: dict[str, list[str]] = {}
    scores: dict[str, list[float]] = {}
    for query, _, item, _, score, _ in _fields(run, 6):
        items.setdefault(query, []).append(item)
        scores.setdefault(query, []).append(float(score))
    sizes = {len(gallery) for gallery in items.values()}
    if len(sizes) != 1:
        raise UserError(f"{os.fspath(run)}: queries with {sorted(sizes)} items, expected one size; write the run again")
    ids = np.array([[unquote(item) for item in gallery] for gallery in items.values()], dtype=object)
    relevant = np.array(
        [[item in relevant_items.get(query, ()) for item in gallery] for query, gallery in items.items()]
    )
    queries = np.array([unquote(query) for query in items], dtype=object)
    return Ranking(queries, ids, np.array(list(scores.values())), relevant, np.full(len(queries), None))


def _fields(path: str | os.PathLike[str], count: int) -> Iterator[list[str]]:
    name = os.fspath(path)
    try:
        with (
            gzip.open(name, "rt", encoding="utf-8") if name.endswith(".gz") else open(name, encoding="utf-8") as stream
        ):
            for number, line in enumerate(stream, start=1):
                fields = line.split()
                if len(fields) != count:
                    raise UserError(
                        f"{name}, line {number}: {len(fields)} fields, expected {count}; write the file again"
                    )
                yield fields
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read ({error}): write it again with 'signatlas evaluate --out'") from error
