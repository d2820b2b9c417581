"""The `signatlas` command. Each command is a "module:function" string, imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any, NamedTuple

from signatlas import __version__
from signatlas.errors import UserError


class Entry(NamedTuple):
    target: str
    help: str


Entries = dict[str, "Entry | Entries"]

COMMANDS: Entries = {
    "demo": Entry("cli.demo:demo", "The whole way on real recordings: data, training, index, search."),
    "doctor": Entry("cli.jobs:doctor", "Check this machine and the cluster."),
    "corpus": {
        "fetch": Entry("cli.corpus.catalog:fetch", "Fetch a public corpus from its source or a mirror."),
        "import": {
            "keypoints": Entry("cli.corpus.keypoints:keypoints", "A folder of .npy/.npz keypoints with labels."),
            "pose-lexicon": Entry("cli.corpus.keypoints:pose_lexicon", "A lexicon of .pose files with index.csv."),
            "manifest": Entry(
                "cli.corpus.importing:manifest",
                "Recordings of your own, a line each in CSV, TSV or JSONL.",
            ),
            "wlasl": Entry(
                "cli.corpus.importing:wlasl",
                "WLASL, American Sign Language (C-UDA, non-commercial): https://dxli94.github.io/WLASL/",
            ),
            "autsl": Entry(
                "cli.corpus.importing:autsl",
                "AUTSL, Turkish Sign Language (research, by agreement): https://cvml.ankara.edu.tr/datasets/",
            ),
            "phoenix14t": Entry(
                "cli.corpus.importing:phoenix14t",
                "RWTH-PHOENIX-Weather 2014 T, German Sign Language (CC BY-NC-SA 3.0): "
                "https://www-i6.informatik.rwth-aachen.de/~koller/RWTH-PHOENIX-2014-T/",
            ),
            "csl-daily": Entry(
                "cli.corpus.importing:csl_daily",
                "CSL-Daily, Chinese Sign Language (research, by agreement): "
                "http://home.ustc.edu.cn/~zhouh156/dataset/csl-daily/",
            ),
            "how2sign": Entry(
                "cli.corpus.importing:how2sign",
                "How2Sign, American Sign Language (CC BY-NC 4.0): https://how2sign.github.io/",
            ),
        },
        "extract": Entry("cli.corpus.extract:extract", "Turn videos into a corpus of poses."),
        "compose": Entry("cli.corpus.compose:compose", "Continuous signing composed of real isolated signs."),
        "info": Entry("cli.corpus.catalog:info", "Counts, splits, words and lengths of a corpus."),
        "show": Entry("cli.corpus.show:show", "Clips, pose files and videos as animations and strips."),
        "export": Entry("cli.corpus.export:export", "Clips as .pose files with an index.csv."),
        "doctor": Entry("cli.corpus.catalog:doctor", "Check files, checksums, poses; --probes: shortcuts."),
    },
    "features": {
        "extract": Entry("cli.features_extract:extract", "Slide a sign classifier over continuous signing."),
        "glosses": Entry("cli.features:glosses", "Oracle: a fixed vector for each true gloss."),
        "import": Entry("cli.features:import_", "Precomputed features: .npy or .pkl, a file a clip."),
        "info": Entry("cli.features:info", "What a folder of features holds."),
    },
    "spot": Entry("cli.spot:spot", "Find signs in continuous signing: pseudo-labels."),
    "train": Entry("cli.train:train", "Train a recipe with Ray Train and DeepSpeed."),
    "tune": Entry("cli.tune:tune", "Search settings of a recipe with Ray Tune: a study of many trainings."),
    "evaluate": Entry("cli.evaluate.command:evaluate", "Evaluate a model on a corpus."),
    "translate": Entry("cli.translate:translate", "What is signed in a video, poses or a clip, as text."),
    "trajectories": Entry("cli.trajectories:trajectories", "What became of negatives while a reference model learned."),
    "compare": Entry("cli.compare:compare", "Sentence evaluations side by side, with paired tests."),
    "index": {
        "build": Entry("cli.index:build", "Embed a corpus and write a sharded, checksummed index."),
        "verify": Entry("cli.index_versions:verify", "Check every file of an index against its checksum."),
        "activate": Entry("cli.index_versions:activate", "Make one version of an index the live one."),
    },
    "search": Entry("cli.search.command:search", "Find signs by a clip, clips by a text, texts by a clip."),
    "show": {"map": Entry("cli.sign_to_word:show_map", "Which part of a clip answers to which word.")},
    "mine": Entry("cli.sign_to_word:mine", "Mine a dictionary: the windows that answer best to each word."),
    "serve": Entry("cli.serve:serve", "Serve an index over HTTP with Ray Serve."),
    "submit": Entry("cli.jobs:submit", "Submit a signatlas command to a cluster as a Ray job."),
    "jobs": Entry("cli.jobs:jobs", "List the jobs of a cluster."),
    "logs": Entry("cli.jobs:logs", "Print or follow the log of a job."),
    "stop": Entry("cli.jobs:stop", "Stop a job."),
}


GROUP_HELP = {
    "corpus": "Fetch, import, compose and look at corpora.",
    "features": "Clip features of continuous signing, for sentence retrieval.",
    "import": "Make a corpus of recordings that are on this machine.",
    "index": "Build, check and activate index snapshots.",
    "show": "Pictures of what a model sees.",
}
INTRODUCTION = """signatlas learns, searches and serves joint spaces of sign language.

Example:
  signatlas corpus fetch dgs
  signatlas train recipes/dgs_gesture.yaml
"""


def _overview(words: list[str], entries: Entries) -> str:
    """The help page of the whole command or of one group, made without importing any command."""
    rows = [(name, GROUP_HELP[name] if isinstance(entry, dict) else entry.help) for name, entry in entries.items()]
    width = max(len(name) for name, _ in rows)
    lines = [f"Usage: {' '.join(['signatlas', *words])} COMMAND [OPTIONS]", ""]
    lines += (
        [GROUP_HELP[words[-1]] if words else INTRODUCTION, "", "Commands:"] if words else [INTRODUCTION, "Commands:"]
    )
    lines += [f"  {name:<{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, "", "Each command has its own --help, with an example."])


def _resolve(arguments: list[str]) -> tuple[list[str], Entry | None, list[str]]:
    """Split arguments into the command's words, its entry (None: a help page is wanted) and what is left."""
    words: list[str] = []
    entries = COMMANDS
    for position, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            break
        entry = entries.get(argument)
        if entry is None:
            nearest = difflib.get_close_matches(argument, entries, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"see '{' '.join(['signatlas', *words])} --help'"
            raise UserError(f"unknown command '{' '.join([*words, argument])}': {hint}")
        words.append(argument)
        if isinstance(entry, Entry):
            return words, entry, arguments[position + 1 :]
        entries = entry
    print(_overview(words, entries))
    return words, None, []


def _function(target: str) -> Any:
    """Import the function that a "module:function" string names."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def _run(words: list[str], entry: Entry, arguments: list[str]) -> int:
    """Import one command's function, let typer turn its signature into options, and call it."""
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(words[-1], context_settings={"help_option_names": ["-h", "--help"]})(_function(entry.target))
    # Standalone: typer itself prints a usage mistake in one line and exits with code 2.
    app(args=arguments, prog_name=" ".join(["signatlas", *words]))
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run a command. A UserError is printed as one line, exit code 2; Ctrl-C ends with 130."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments == ["--version"]:
            print(f"signatlas {__version__}")
            sys.exit(0)
        words, entry, rest = _resolve(arguments)
        sys.exit(_run(words, entry, rest) if entry else 0)
    except UserError as error:
        print(f"signatlas: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("signatlas: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
