"""Filtered search equals an exhaustive search whose answer is filtered afterwards, whatever finds the entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signatlas.errors import UserError
from signatlas.files import filesystem, sha256_file
from signatlas.retrieval import faiss_index, index_version
from signatlas.retrieval.faiss_index import Effort
from signatlas.retrieval.filters import KEYS, Filter, available, mask, misfit
from signatlas.retrieval.index_version import FILTER_FIELDS, ROW_SCHEMA, IndexVersion
from signatlas.retrieval.search import SignSearch
from signatlas.retrieval.shard import Ranked
from signatlas.retrieval.shard_search import ShardQuery, ShardSearch, best_of_each

Write = Callable[..., IndexVersion]
VALUES: dict[str, list[Any]] = {
    "corpus": ["small"], "source": ["webcam", "dictionary"], "split": ["train", "dev", "test"],
    "sign_language": ["gsg", "ase"], "text_language": ["de", "en"], "signer": ["a", "b", "c"],
    "gloss": [f"wort {n}" for n in range(12)], "hands": [1, 2], "movement": ["none", "arc"],
    "location": ["head", "waist"],
}  # fmt: skip
NOWHERE = {key: 7 if key == "hands" else "nowhere" for key in VALUES}
FILTERS = st.fixed_dictionaries({}, optional={
    key: st.lists(st.sampled_from([*values, NOWHERE[key]]), min_size=1, max_size=4) for key, values in VALUES.items()
})  # fmt: skip


@pytest.fixture(scope="module")
def labeled(rows: pa.Table) -> pa.Table:
    """The rows of the small corpus, with a random value or none in each column that can be filtered by."""
    rng = np.random.default_rng(0)
    columns = {"sign_language": rng.choice(["gsg", "ase"], len(rows)).tolist()}
    for name in ("signer", "hands", "movement", "location"):
        columns[name] = [v if rng.random() < 0.8 else None for v in rng.choice(VALUES[name], len(rows)).tolist()]
    columns["texts"] = [[t for t in texts if rng.random() < 0.6] for texts in rows["texts"].to_pylist()]
    for name, values in columns.items():
        field = ROW_SCHEMA.field(name)
        rows = rows.set_column(ROW_SCHEMA.get_field_index(name), field, pa.array(values, field.type))
    return rows


@pytest.fixture(scope="module")
def tied(vectors: np.ndarray) -> np.ndarray:
    """Vectors of the small corpus, of which many are equal: ties at nearly every rank."""
    return vectors[np.random.default_rng(1).integers(0, 30, len(vectors))]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, labeled: pa.Table, tied: np.ndarray, small_model: Path,
            part: Any) -> IndexVersion:  # fmt: skip
    root = tmp_path_factory.mktemp("filters") / "index"
    return index_version.write(root, tied, labeled, model=small_model, corpus=part, shards=3, version="v1")


@pytest.fixture(scope="module")
def search(written: IndexVersion) -> ShardSearch:
    return ShardSearch(written)


def meets(row: dict[str, Any], filter: Filter) -> bool:
    """Decide one row in plain Python."""
    languages = {text["language"] for text in row["texts"] or ()}
    values = {**{key: {row[key]} for key in KEYS if key != "text_language"}, "text_language": languages}
    return all(values[key] & set(wanted) for key, wanted in filter.conditions().items())


def filtered(search: ShardSearch, query: ShardQuery) -> list[tuple[float, dict[str, Any]]]:
    """Rank everything without a filter, and filter afterwards."""
    everything = search.search([ShardQuery(query.vectors, len(search.rows))])[0].hits
    assert len(everything) == len(search.rows)
    filter = query.filter or Filter()
    hits = [(score, row) for score, row in everything if meets(row, filter) and row["id"] != query.leave_out]
    return (best_of_each(hits, query.group_by) if query.group_by else hits)[: query.k]


@settings(max_examples=120, deadline=None)
@given(values=FILTERS)
def test_a_mask_has_the_rows_that_meet_every_condition(search: ShardSearch, values: dict[str, Any]) -> None:
    filter = Filter.of(values)
    allowed = mask(search.rows, filter)
    wanted = [meets(row, filter) for row in search.rows.to_pylist()]
    assert ([True] * len(wanted) if allowed is None else allowed.tolist()) == wanted
    assert (allowed is None) == (not values)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(FILTERS, min_size=1, max_size=4), k=st.integers(1, 130), seed=st.integers(0, 1000),
       leave_out=st.booleans(), group_by=st.sampled_from([None, "gloss"]))  # fmt: skip
def test_filtering_before_equals_filtering_an_exhaustive_search(
    search: ShardSearch, tied: np.ndarray, values: list[dict[str, Any]], k: int, seed: int, leave_out: bool,
    group_by: Any,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    ids = search.rows["id"].to_pylist()
    queries = [
        ShardQuery(tied[rng.integers(0, len(tied), 1 + n % 2)], 1 + (k + n) % 130, filter=Filter.of(v),
                   leave_out=ids[rng.integers(len(ids))] if leave_out else None, group_by=group_by)
        for n, v in enumerate(values)
    ]  # fmt: skip
    for query, result in zip(queries, search.search(queries), strict=True):
        assert result.hits == filtered(search, query), "ids, rows and scores, to the last bit"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), k=st.integers(1, 60), queries=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_flat_index_searched_in_blocks_finds_the_best_allowed_entries(
    share: float, k: int, queries: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "PRODUCT_ROWS", 37)
    rng = np.random.default_rng(seed)
    vectors = unit(rng, 20)[rng.integers(0, 20, 200)]
    vectors[::2] += np.float32(3e-8)  # closer than sums of float32 can tell
    asked, allowed = unit(rng, queries), rng.random(200) < share
    scores, positions = faiss_index.search(faiss_index.build(vectors), asked, k, allowed=allowed)
    for q in range(queries):
        exact = np.float32((vectors.astype(np.float64) * asked[q].astype(np.float64)).sum(-1))
        wanted = sorted(np.flatnonzero(allowed).tolist(), key=lambda n: (-exact[n], n))[:k]
        assert positions[q].tolist() == wanted and scores[q].tolist() == exact[wanted].tolist()


def unit(rng: np.random.Generator, n: int, dims: int = 24) -> np.ndarray:
    x = rng.normal(size=(n, dims)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("factory", ["IVF64,Flat", "HNSW16", "IVF16,SQ8", "PCA12,IVF16,Flat", "IVF16,PQ6x4fs", "PQ6x4"])
def test_an_approximate_index_scans_few_allowed_entries_and_finds_only_allowed_ones(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 1500), unit(rng, 20)
    faiss_index.write(faiss_index.build(vectors, factory), tmp_path / "index")
    built = faiss_index.read(tmp_path / "index")
    allowed = rng.random(1500) < 0.3
    positions = np.flatnonzero(allowed)
    stored = faiss_index.reconstructed(built, positions)
    scores, found = faiss_index.search(built, queries, 10, allowed=allowed)
    if stored is None:
        assert factory == "IVF16,PQ6x4fs", "FAISS cannot give the vectors of this one"
    else:
        wanted = faiss_index.search(faiss_index.build(stored), queries, 10)
        np.testing.assert_array_equal(found, positions[wanted[1]])
        np.testing.assert_array_equal(scores, wanted[0])
    monkeypatch.setattr(faiss_index, "SCANNED_ENTRIES", 10)
    _, found = faiss_index.search(built, queries, 10, allowed=allowed)
    assert allowed[found[found >= 0]].all() and (found >= 0).mean() > 0.9


def test_what_an_index_cannot_select_or_tell_is_filtered_after_ranking_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 300), unit(rng, 5)
    built, allowed = faiss_index.build(vectors, "SQ8"), rng.random(300) < 0.1
    wanted = faiss_index.search(built, queries, 300)
    monkeypatch.setattr(faiss_index, "reconstructed", lambda *_: None)
    scores, positions = faiss_index.search(built, queries, 10, allowed=allowed)
    for q in range(5):
        kept = allowed[wanted[1][q]]
        assert positions[q].tolist() == wanted[1][q][kept][:10].tolist()
        assert scores[q].tolist() == wanted[0][q][kept][:10].tolist()


@pytest.mark.parametrize(("factory", "efforts"), [
    ("IVF64,Flat", [Effort(nprobe=n) for n in (1, 4, 16, 64)]), ("HNSW4", [Effort(ef=n) for n in (10, 40, 400)]),
])  # fmt: skip
@pytest.mark.parametrize("share", [0.4, 1])
def test_more_effort_gives_more_recall(
    factory: str, efforts: list[Effort], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss_index, "SCANNED_ENTRIES", 0)
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 3000), unit(rng, 50)
    allowed = np.arange(3000) % 5 < 5 * share if share < 1 else None
    _, wanted = faiss_index.search(faiss_index.build(vectors), queries, 10, allowed=allowed)
    built = faiss_index.build(vectors, factory)

    def recall(effort: Effort) -> float:
        _, found = faiss_index.search(built, queries, 10, allowed=allowed, effort=effort)
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))

    recalls = [recall(effort) for effort in efforts]
    assert recalls == sorted(recalls) and recalls[-1] > 0.97 and recalls[0] < 0.9, recalls
    if factory.startswith("IVF"):  # 8 of 64 lists, of which a filter takes its share
        assert recall(Effort()) == recall(Effort(nprobe=8 if share == 1 else 20)) > recalls[1]


def test_a_service_and_a_folder_find_the_same_with_a_filter(written: IndexVersion, search: ShardSearch) -> None:
    local, vectors = SignSearch(written), unit(np.random.default_rng(0), 4, 32)
    filter = Filter(source="webcam", hands=2)
    id = search.rows["id"][3].as_py()
    ranked = local.rank(vectors, 9, filter=filter, leave_out=id)
    results = search.search([ShardQuery(v[None], 9, filter=filter, leave_out=id) for v in vectors])
    assert [[(row["id"], score) for score, row in r.hits] for r in results] == ranked
    assert all(len(r) == 9 for r in ranked)


def test_a_version_without_the_new_columns_opens_and_is_filtered(write: Write, tmp_path: Path, rows: pa.Table) -> None:
    older = write(tmp_path, shards=2, version="v1")
    path = older.path / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in ("shard-000/ids.parquet", "shard-001/ids.parquet"):
        table = pq.read_table(older.path / name)
        pq.write_table(table.drop_columns([field.name for field in FILTER_FIELDS]), older.path / name)
        manifest["files"][name] = sha256_file(*filesystem(older.path / name))
    path.write_text(json.dumps(manifest))
    opened = IndexVersion.open(tmp_path, "v1", verify=True)
    assert opened.rows().schema == ROW_SCHEMA
    assert set(opened.rows()["corpus"].to_pylist()) == {"small"}
    for field in ("signer", "hands", "movement", "location"):
        assert opened.rows()[field].null_count == len(rows)
    local, query = SignSearch(opened), unit(np.random.default_rng(0), 1, 32)
    assert local.rank(query, 5, filter=Filter(hands=1)) == [[]]
    everything: Ranked = local.rank(query, len(rows))[0]
    (german,) = local.rank(query, 5, filter=Filter(corpus="small", source="dictionary"))
    assert german == [pair for pair in everything if "/dictionary/" in pair[0]][:5]
    assert local.catalog.sign(everything[0][0]).hands is None
    assert available(opened.rows())["hands"] == [] and available(opened.rows())["source"] == ["dictionary", "webcam"]


def test_values_that_filters_can_take_are_those_of_the_entries(search: ShardSearch) -> None:
    listed = available(search.rows)
    assert listed == {key: sorted(set(VALUES[key])) for key in listed} and "gloss" not in listed
    assert all(values == [] for values in available(ROW_SCHEMA.empty_table()).values())
    assert mask(ROW_SCHEMA.empty_table(), Filter(gloss="a", text_language="de")).tolist() == []  # type: ignore[union-attr]


@pytest.mark.parametrize(("conditions", "message"), [
    (["glos=a"], "no filter 'glos': there are corpus, source, split, sign_language, text_language, signer, gloss,"),
    (["gloss"], "'gloss' is not a filter: give KEY=VALUE"),
    (["gloss="], "'gloss=' is not a filter: give KEY=VALUE"),
    (["hands=two"], "filter hands: Input should be a valid integer"),
    ([f"gloss={'a' * 1025}"], "filter gloss: String should have at most 1024 characters"),
    (["gloss=\udc80"], "filter gloss: the text contains half of a surrogate pair"),
])  # fmt: skip
def test_a_mistake_in_a_filter_is_one_line(conditions: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Filter.parse(conditions)
    assert "\n" not in str(error.value)


def test_repeated_keys_are_alternatives_and_equal_filters_are_equal() -> None:
    filter = Filter.parse(["gloss=b=c", "hands=2", "gloss=a"])
    same = Filter.of({"gloss": ["a", "b=c", "a"], "hands": [2]})
    assert filter == same and hash(filter) == hash(same)
    assert Filter.parse([]) is None and Filter().conditions() == {}
    with pytest.raises(UserError, match="at least 1 item"):
        Filter.of({"gloss": []})
    with pytest.raises(UserError, match="true and false"):
        Filter.of({"hands": True})


def test_texts_have_no_signer_gloss_hands_movement_or_location() -> None:
    for key in ("signer", "gloss", "movement", "location"):
        assert f"filter.{key}" in (misfit(Filter.of({key: "x"}), "texts") or "")
    assert misfit(Filter(hands=1), "texts") and not misfit(Filter(hands=1), "clips") and not misfit(None, "texts")
    assert not misfit(Filter(text_language="de", source="a", corpus="b", split="dev", sign_language="gsg"), "texts")


def test_an_index_that_finds_too_few_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "SCANNED_ENTRIES", 0)
    rng = np.random.default_rng(0)
    vectors, asked = unit(rng, 2000), []
    built, allowed = faiss_index.build(vectors, "IVF64,Flat"), np.arange(2000) < 40
    search = type(built).search

    def counted(self: Any, queries: np.ndarray, k: int, **options: Any) -> Any:
        asked.append(k)
        return search(self, queries, k, **options)

    monkeypatch.setattr(type(built), "search", counted)
    scores, positions = faiss_index.search(built, unit(rng, 3), 10, allowed=allowed, effort=Effort(nprobe=1))
    assert (positions == -1).any() and (scores[positions == -1] == -np.inf).all() and asked == [11]
