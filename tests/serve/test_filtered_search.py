"""Filters, nprobe and ef of a request, from its options to the shards, in a gateway without Ray."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serve.admission import Running
from serve.answers import form_options
from serve.config import parse
from serve.errors import Problem, from_validation
from serve.gateway import Gateway
from serve.parts import Parts
from serve.schemas import SearchOptions, VectorQuery
from signatlas.corpus.format import Corpus, clips_to_table
from signatlas.models.sign_encoder import SignEncoder
from signatlas.pose.attributes import attributes
from signatlas.retrieval import index_version
from signatlas.retrieval.faiss_index import SCANNED_ENTRIES
from signatlas.retrieval.filters import Filter
from signatlas.retrieval.index_version import IndexVersion
from signatlas.retrieval.search import SignSearch
from tests.serve.services import corpus_part, write_signs


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory, small_corpus: Path, small_model: Path) -> dict[str, Path]:
    """The same signs in a Flat index, and twelve thousand random vectors in an IVF index."""
    root = tmp_path_factory.mktemp("indexes")
    write_signs(root / "flat", small_model, small_corpus, "v1", shards=3)
    clips = list(Corpus.open(small_corpus))
    dims = SignEncoder.from_pretrained(small_model).config.embedding
    count = SCANNED_ENTRIES + 2000
    vectors = np.random.default_rng(0).normal(size=(count, dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = index_version.with_attributes(
        index_version.as_rows([clips_to_table(clips)]), [attributes(c.poses, c.width, c.height) for c in clips]
    )
    rows = rows.take([n % len(clips) for n in range(count)])
    rows = rows.set_column(0, rows.schema.field("id"), [[f"random/{n:05d}" for n in range(count)]])
    index_version.write(root / "ivf", vectors, rows, model=small_model, corpus=corpus_part(small_corpus),
                        factory="IVF32,Flat", version="v1")  # fmt: skip
    index_version.activate(root / "ivf", "v1")
    return {"flat": root / "flat", "ivf": root / "ivf"}


def ask(index: Path, vectors: list[np.ndarray], options: dict[str, Any], **application: Any) -> list[list[dict]]:  # type: ignore[type-arg]
    """Return the hits of each vector, by the gateway's own code over shards of this process."""
    config = parse({
        "gateway": {"authorization": {"allow_anonymous": True}},
        "applications": [{"name": "signs", "index": str(index), "colocate": True, **application}],
    })  # fmt: skip

    async def main() -> Any:
        gateway = Gateway.__new__(Gateway)  # its constructor belongs to Ray Serve
        gateway.limits = config.gateway.limits
        gateway.running, gateway.parts = Running(8, 8, 10), Parts(config)
        await gateway.parts.start()
        while gateway.parts.searchers["signs"].live is None:
            await asyncio.sleep(0.02)
        queries = [VectorQuery(vector=vector.tolist()) for vector in vectors]
        return await gateway._search(SearchOptions.model_validate(options), queries, 0.0)

    body = json.loads(bytes(asyncio.run(main()).body))
    assert not body["partial"]
    return [result["hits"] for result in body["results"]]


def unit(seed: int, n: int, dims: int = 32) -> list[np.ndarray]:
    vectors = np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, 50), source=st.sampled_from([None, "webcam", "dictionary", "nowhere"]),
       words=st.lists(st.integers(0, 13), max_size=5))  # fmt: skip
def test_a_flat_service_finds_what_an_exhaustive_search_finds(
    indexes: dict[str, Path], k: int, source: str | None, words: list[int]
) -> None:
    conditions: dict[str, Any] = {"source": source} if source else {}
    conditions |= {"gloss": [f"wort {n}" for n in words]} if words else {}
    vectors = unit(k, 3)
    local = SignSearch(IndexVersion.open(indexes["flat"]))
    for vector, hits in zip(vectors, ask(indexes["flat"], vectors, {"k": k, "filter": conditions}), strict=True):
        rows = {row["id"]: row for row in local.catalog._rows.to_pylist()}
        everything = local.rank(np.array(VectorQuery(vector=vector.tolist()).vector, np.float32)[None], 120)[0]
        kept = [(id, score) for id, score in everything
                if (not source or rows[id]["source"] == source)
                and (not words or rows[id]["gloss"] in conditions["gloss"])]  # fmt: skip
        assert [(hit["id"], hit["score"]) for hit in hits] == kept[:k]
        assert all((h["hands"], h["movement"]) == (rows[h["id"]]["hands"], rows[h["id"]]["movement"]) for h in hits)


def test_an_ivf_service_scans_a_small_filtered_set_and_searches_as_many_lists_as_it_is_told(
    indexes: dict[str, Path],
) -> None:
    vectors = unit(1, 20)
    local = SignSearch(IndexVersion.open(indexes["ivf"]))

    def recall(options: dict[str, Any], wanted: Filter | None, **application: Any) -> float:
        hits = ask(indexes["ivf"], vectors, {"k": 10, **options}, **application)
        shard = local.shards[0]
        (allowed,) = local.catalog.allowed(wanted)
        stored = shard.index.reconstruct_n(0, len(shard.ids))
        scores = np.stack(vectors) @ stored.T
        scores[:, ~allowed if allowed is not None else slice(0)] = -2
        best = [{shard.ids[n] for n in np.argsort(-row)[:10]} for row in scores]
        return float(np.mean([len({h["id"] for h in h_} & b) / 10 for h_, b in zip(hits, best, strict=True)]))

    small = Filter(source="dictionary")
    assert recall({"filter": {"source": "dictionary"}, "nprobe": 1}, small) == 1, "a scan, whatever nprobe says"
    one, default, every = (recall({"nprobe": 1}, None), recall({}, None), recall({"nprobe": 32}, None))
    assert one < default < every == 1
    assert recall({}, None, nprobe=32) == 1 and recall({"nprobe": 1}, None, nprobe=32) == one, "the request decides"
    glosses = [f"wort {n}" for n in range(11)]
    large = Filter(gloss=glosses)
    assert local.catalog.allowed(large)[0].sum() > SCANNED_ENTRIES  # type: ignore[union-attr]
    few, all_lists = (recall({"filter": {"gloss": glosses}, "nprobe": n}, large) for n in (1, 32))
    assert few < all_lists == 1


@pytest.mark.parametrize(("options", "field", "message"), [
    ({"filter": {"glos": "a"}}, "filter.glos", "Extra inputs are not permitted"),
    ({"filter": {"gloss": []}}, "filter.gloss", "at least 1 item"),
    ({"filter": {"hands": "two"}}, "filter.hands.0", "valid integer"),
    ({"filter": {"gloss": "\ud800"}}, "filter.gloss", "half of a surrogate pair"),
    ({"filter": {"gloss": ["a"] * 5000}}, None, None),
    ({"filter": {"gloss": [str(n) for n in range(5000)]}}, "filter.gloss", "at most 1000 items"),
    ({"filter": "gloss=a"}, "filter", "valid dictionary"),
    ({"nprobe": 0}, "nprobe", "greater than or equal to 1"),
    ({"ef": 10**9}, "ef", "less than or equal to 65536"),
])  # fmt: skip
def test_a_wrong_option_is_one_422(options: dict[str, Any], field: str | None, message: str | None) -> None:
    if field is None:
        assert SearchOptions.model_validate(options).filter == Filter(gloss="a")
        return
    with pytest.raises(ValidationError) as error:
        SearchOptions.model_validate(options)
    problem = from_validation(error.value)
    assert problem.status == 422 and len(problem.extensions["errors"]) == 1
    assert problem.extensions["errors"][0]["field"] == field and str(message) in problem.detail


def test_a_form_has_its_filter_as_json_text() -> None:
    fields = {"k": "3", "filter": '{"hands": [1, 2], "gloss": "a"}', "nprobe": "4"}
    options = SearchOptions.model_validate(form_options(fields))
    assert options.filter == Filter(hands=[1, 2], gloss="a") and (options.k, options.nprobe) == (3, 4)
    assert form_options({"k": "3"}) == {"k": "3"}
    for text in ("{", "[" * 100_000, "\ud800", "9" * 5000):
        with pytest.raises(Problem, match="filter: a form has it as JSON text") as error:
            form_options({"filter": text})
        assert error.value.status == 422
