"""Tables and the summary of a run of the service's load benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli.shared import console
from signatlas.evaluation.report import ReportTable, rich_table

Row = dict[str, Any]
Key = tuple[str, str, str, str, int]  # index, side, ingress, queries, connections


def best_settings(rows: Sequence[Row]) -> dict[Key, Row]:
    """Return for each measurement the row of the thread setting with the most requests per second."""
    best: dict[Key, Row] = {}
    for row in rows:
        if "failed" in row:
            continue
        key = (row["index"], row["side"], row["ingress"], row["queries"], row["connections"])
        if key not in best or row["per_s"] > best[key]["per_s"]:
            best[key] = row
    return best


def tables(rows: Sequence[Row]) -> list[ReportTable]:
    """Return a table for each index and kind of query, and one with the service's own stage times."""
    best = best_settings(rows)
    made = []
    for index, queries in dict.fromkeys((key[0], key[3]) for key in best):
        chosen = [key for key in best if (key[0], key[3]) == (index, queries)]
        connections = sorted({key[4] for key in chosen})
        header = ["side"]
        for number in connections:
            header += [f"{number}: req/s", "p50/p95/p99 ms", "relative"]
        header += ["threads", "errors"]
        lines = []
        for side, ingress in dict.fromkeys((key[1], key[2]) for key in chosen):
            cells = [best.get((index, side, ingress, queries, number)) for number in connections]
            lines.append([side if ingress == "none" else f"{side}, {ingress}", *_cells(cells)])
        first = next(row for row in rows if row["index"] == index)
        size = f"{first['entries']:,} x {first['dims']} in {first['shards']} shards"
        made.append(ReportTable(f"{index} index ({size}), {queries}", header, lines))
    return made + _stages(best)


def _cells(cells: Sequence[Row | None]) -> list[str]:
    texts: list[str] = []
    for row in cells:
        if row is None:
            texts += ["", "", ""]
            continue
        percentiles = "/".join("-" if row[f"p{p}_ms"] is None else f"{row[f'p{p}_ms']:.3g}" for p in (50, 95, 99))
        relative = f"{row['per_s'] / row['reference_per_s']:.3f}" if row.get("reference_per_s") else ""
        texts += [f"{row['per_s']:.4g}", percentiles, relative]
    measured = [row for row in cells if row]
    threads = "/".join(f"{row['threads']}{' pool' if row.get('pool') else ''}" for row in measured)
    errors = sum(sum(row["errors"].values()) + row["wrong"] for row in measured)
    return [*texts, threads, f"{errors}{' WRONG IDS' if any(row['different'] for row in measured) else ''}"]


def _stages(best: dict[Key, Row]) -> list[ReportTable]:
    timed = {key: row for key, row in best.items() if row["stages_ms"]}
    if not timed:
        return []
    names = list(dict.fromkeys(name for row in timed.values() for name in row["stages_ms"]))
    lines = []
    for (index, side, ingress, queries, connections), row in timed.items():
        times = [f"{row['stages_ms'][name]:.2f}" if name in row["stages_ms"] else "" for name in names]
        label = f"{index}, {side}, {ingress}, {queries}, {connections}"
        lines.append([label, *times, "-" if row["p50_ms"] is None else f"{row['p50_ms']:.2f}"])
    header = ["index, side, ingress, queries, connections", *names, "p50 at the client"]
    return [ReportTable("stages of the service: mean ms (Server-Timing)", header, lines)]


def print_tables(rows: Sequence[Row]) -> None:
    """Print the tables."""
    for table in tables(rows):
        console(width=200).print(rich_table(table))


def summary(rows: Sequence[Row]) -> Row:
    """Return the ratios that the targets name, by index, ingress and connections, and whether all answers were right.

    Ratios of requests per second, each side with its best thread setting.
    """
    best = best_settings(rows)

    def ratio(key: Key, other: str, **replaced: str) -> float | None:
        index, _, ingress, queries, connections = key
        divisor = best.get(
            (replaced.get("index", index), other, replaced.get("ingress", ingress), queries, connections)
        )
        return round(best[key]["per_s"] / divisor["per_s"], 3) if divisor and divisor["per_s"] else None

    ratios: dict[str, dict[str, float]] = {}
    first_index = rows[0]["index"] if rows else ""
    for key in best:
        index, side, ingress, queries, connections = key
        if side in ("ours", "colocated", "today", "rpc"):
            found = {
                "rpc": ratio(key, "rpc") if side != "rpc" else None,
                "empty": ratio(key, "empty", index=first_index),
                "uvicorn": ratio(key, "uvicorn", ingress="none"),
                "faiss": ratio(key, "faiss", ingress="none"),
                "today": ratio(key, "today") if side not in ("today", "rpc") else None,
            }
            ratios[f"{index}/{queries}/{ingress}/{connections}/{side}"] = {k: v for k, v in found.items() if v}
    measured = [row for row in rows if "failed" not in row]
    return {
        "ratios": ratios,
        "failed": [f"{row['index']}/{row['side']}/{row['ingress']}" for row in rows if "failed" in row],
        "answers_equal": not any(row["different"] or row["wrong"] for row in measured),
        "errors": sum(sum(row["errors"].values()) for row in measured),
    }
