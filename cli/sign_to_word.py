"""Commands for sign-to-word alignment: maps of single clips and mined dictionaries."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.shared import AsJson, check_output, console, output_errors, print_json
from signatlas.errors import CorpusError, UserError

if TYPE_CHECKING:
    import numpy as np

    from signatlas.evaluation.sign_to_word.maps import MappedVideo
    from signatlas.evaluation.sign_to_word.mining import MinedWord

MODEL = typer.Argument(help="Folder of a dual encoder.")
CORPUS = typer.Argument(help="Corpus folder or URI.")
FEATURES = typer.Option(help="Clip features of the corpus.")
LANGUAGE = typer.Option(help="Language of the texts.")
PLOTTED_WORDS = 12


def show_map(
    model: Annotated[str, MODEL],
    corpus: Annotated[str, CORPUS],
    clip: Annotated[str, typer.Option(help="Id of the clip.")],
    features: Annotated[Path, FEATURES],
    language: Annotated[str, LANGUAGE] = "de",
    out: Annotated[Path, typer.Option(help="Output image.")] = Path("map.png"),
    json: AsJson = False,
) -> None:
    """Plot the similarity of the clips of a recording to the words of its text, with the true glosses.

    Example: signatlas show map runs/cico/model data/multi --clip multi/test/000001 --features data/features/multi
    """
    from signatlas.evaluation.sign_to_word.maps import gloss_spans
    from signatlas.plots.sign_to_word import plot_word_map

    opened, rows = _select_rows(corpus, lambda row: row["id"] == clip)
    if not rows:
        raise CorpusError(f"no clip '{clip}' in {opened.path}")
    pair = next(_pairs(model, opened, features, rows, language))
    fps = pair.row["fps"]
    scale, unit = (1 / fps, "s") if fps else (1.0, "frames")
    spans = [(gloss, first * scale, end * scale) for gloss, first, end in gloss_spans(pair.row)]
    with output_errors(out):
        plot_word_map(pair.map, pair.frames * scale, out, spans=spans, unit=unit, title=f"{clip}: {pair.text}")
    if json:
        print_json(_as_data(pair))
    else:
        print(f"{out}: {len(pair.frames)} clips x {len(pair.map.words)} words")


def mine(
    model: Annotated[str, MODEL],
    corpus: Annotated[str, CORPUS],
    features: Annotated[Path, FEATURES],
    out: Annotated[Path, typer.Option(help="Output folder of words.json and mined.png.")],
    split: Annotated[str, typer.Option(help="Split of the corpus.")] = "test",
    language: Annotated[str, LANGUAGE] = "de",
    least: Annotated[int, typer.Option(min=1, help="Minimum clips per word.")] = 5,
    most: Annotated[int, typer.Option(min=1, help="Maximum windows per word, best first.")] = 20,
    picture: Annotated[bool, typer.Option(help="Plot the windows of the most frequent words.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the chance baseline and the plot.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
    json: AsJson = False,
) -> None:
    """Mine a dictionary: the windows of signing most similar to each word of a corpus.

    Example: signatlas mine runs/cico/model data/multi-composed --features data/features/multi --out mined
    """
    from signatlas.evaluation.sign_to_word.mining import DictionaryMiner, summarize
    from signatlas.files import folder_atomically

    check_output(out, overwrite)
    opened, rows = _select_rows(corpus, lambda row: row["split"] == split)
    if not rows:
        raise CorpusError(f"{opened.path} has no split '{split}', only {', '.join(opened.info.counts)}")
    miner = DictionaryMiner(least, most)
    for pair in _pairs(model, opened, features, rows, language):
        miner.add(pair)
    mined_words = miner.words(seed)
    if not mined_words:
        raise UserError(f"no word occurs in {least} clips of {opened.path}: lower --least")
    document = {
        "model": model, "corpus": opened.info.name, "corpus_fingerprint": opened.info.fingerprint, "split": split,
        "language": language, "least": least, "most": most, "seed": seed, "synthetic": opened.info.synthetic,
        **summarize([word for word, _ in mined_words]), "words_found": [word.model_dump() for word, _ in mined_words],
    }  # fmt: skip
    with output_errors(out), folder_atomically(out, overwrite=overwrite) as partial:
        text = json_.dumps(document, ensure_ascii=False, indent=1)
        (partial / "words.json").write_text(text + "\n", encoding="utf-8")
        if picture:
            _plot(mined_words, partial / "mined.png", seed)
    if json:
        print_json(document, indent=1)
    else:
        _print_words([word for word, _ in mined_words], document, out)


def _select_rows(corpus: str, condition: Any) -> tuple[Any, list[dict[str, Any]]]:
    from signatlas.corpus.format import Corpus

    opened = Corpus.open(corpus)
    return opened, [row for row in opened.metadata() if condition(row)]


def _pairs(model: str, opened: Any, features: Path, rows: list[dict[str, Any]], language: str) -> Any:
    from signatlas.evaluation.sign_to_word.maps import map_videos
    from signatlas.features.store import FeatureStore
    from signatlas.models.dual_encoder.encoder import DualEncoder

    return map_videos(DualEncoder.from_pretrained(model), opened, FeatureStore.open(features), rows, language)


def _as_data(pair: MappedVideo) -> dict[str, Any]:
    numbers = {
        name: getattr(pair.map, name).round(4).tolist() for name in ("cosines", "clip_attention", "word_attention")
    }
    return {"id": pair.row["id"], "text": pair.text, "words": pair.map.words, "frames": pair.frames.tolist(), **numbers}


def _plot(mined_words: list[tuple[MinedWord, np.ndarray]], path: Path, seed: int) -> None:
    """Plot the most frequent words, words that name a gloss first."""
    import numpy as np

    from signatlas.plots.mined_signs import MIN_TOKENS, plot_mined_signs

    plotted = sorted(mined_words, key=lambda pair: pair[0].named is None)[:PLOTTED_WORDS]  # stable: most frequent first
    tokens = np.concatenate([tokens for _, tokens in plotted])
    if len(tokens) >= MIN_TOKENS:
        plot_mined_signs(tokens, [word.word for word, t in plotted for _ in t], path, seed=seed)


def _print_words(words: list[MinedWord], document: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("word")
    table.add_column("clips", justify="right")
    table.add_column("score", justify="right")
    table.add_column("majority gloss")
    for name in ("purity", "chance", "named", "by chance"):
        table.add_column(name, justify="right")
    for word in words:
        shares = (word.purity, word.chance, word.named, word.named_chance)
        table.add_row(word.word, str(word.count), f"{word.score:.2f}", word.majority or "",
                      *("" if s is None else f"{s:.0%}" for s in shares))  # fmt: skip
    terminal = console()
    terminal.print(table)
    if document["purity"] is not None:
        terminal.print(
            f"mean of {len(words)} words: purity {document['purity']:.1%}, by chance {document['chance']:.1%}"
        )
    if document["named"] is not None:
        terminal.print(
            f"mean of {document['named_words']} words that name a gloss: in its span {document['named']:.1%}, "
            f"by chance {document['named_chance']:.1%}"
        )
    if document["synthetic"]:
        terminal.print("Synthetic signing: not a result on real signing.")
    terminal.print(f"windows: {out}/words.json", style="dim")
