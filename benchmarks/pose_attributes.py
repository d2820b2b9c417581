"""How often two recordings of one gloss have the same hands, movement and location, beside chance, on a real corpus.

No corpus here has labels for these. Recordings of one gloss mostly show the same sign, so a rule that measures the sign
makes them agree more often than two recordings of any gloss; variants of a sign lower the agreement. Run:

    python -m benchmarks.pose_attributes --corpus data/dgs
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from signatlas.corpus.format import Corpus
from signatlas.pose.attributes import PoseAttributes, attributes


def agreement(groups: Sequence[Sequence[Any]]) -> dict[str, float | int]:
    """Return the share of pairs in one group with equal values, of pairs of any groups, and the number of the former.

    Values that are None are left out.
    """
    known = [Counter(value for value in group if value is not None) for group in groups]
    total: Counter[Any] = sum(known, Counter())
    pairs, equal = (sum(map(count, known)) for count in (_pairs, _equal_pairs))
    return {
        "agree": round(equal / max(pairs, 1), 4), "chance": round(_equal_pairs(total) / max(_pairs(total), 1), 4),
        "pairs": pairs,
    }  # fmt: skip


def _pairs(counts: Counter[Any]) -> int:
    return counts.total() * (counts.total() - 1) // 2


def _equal_pairs(counts: Counter[Any]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    corpus = Corpus.open(parser.parse_args().corpus)
    groups: dict[str, list[PoseAttributes]] = defaultdict(list)
    seconds = 0.0
    for row, poses in corpus.poses():
        if row["gloss"] is not None:
            started = time.perf_counter()
            groups[row["gloss"]].append(attributes(poses, row["width"], row["height"]))
            seconds += time.perf_counter() - started
    clips = sum(map(len, groups.values()))
    result = {
        name: {**agreement([[getattr(a, name) for a in group] for group in groups.values()]),
               "values": Counter(str(getattr(a, name)) for group in groups.values() for a in group)}
        for name in PoseAttributes._fields
    }  # fmt: skip
    print(json.dumps({
        "benchmark": "pose_attributes", "corpus": corpus.info.name, "fingerprint": corpus.info.fingerprint,
        "synthetic": corpus.info.synthetic, "clips": clips, "glosses": len(groups), **result,
        "ms_per_clip": round(1e3 * seconds / max(clips, 1), 2), "cores": os.cpu_count(), "machine": platform.machine(),
        "python": platform.python_version(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
