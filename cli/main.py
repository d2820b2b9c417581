"""The `signatlas` command: find the function of a command, import it, and run it with typer."""

from __future__ import annotations

import difflib
import importlib
import sys
from typing import Any, NamedTuple

from signatlas import __version__
from signatlas.corpus.sources import SOURCES
from signatlas.errors import UserError


class Entry(NamedTuple):
    """A command: the "module:function" to import when it is called, and its line in the overview."""

    target: str
    help: str


Entries = dict[str, "Entry | Entries"]

IMPORTS: Entries = {
    "keypoints": Entry("cli.corpus.imports:keypoints", "A folder of .npy or .npz keypoints with labels."),
    "pose-lexicon": Entry("cli.corpus.imports:pose_lexicon", "A lexicon of .pose files with an index.csv."),
    "manifest": Entry("cli.corpus.imports:manifest", "Your own recordings, listed in CSV, TSV or JSONL."),
    **{
        name: Entry(f"cli.corpus.imports:{name}", source.description)
        for name, source in SOURCES.items()
        if source.command == "import"
    },
}
COMMANDS: Entries = {
    "demo": Entry("cli.demo:demo", "Run everything end to end on real recordings: data, training, index, search."),
    "doctor": Entry("cli.jobs:doctor", "Check this machine and the cluster."),
    "corpus": {
        "fetch": Entry("cli.corpus.manage:fetch", "Download a public corpus, or create it from a local mirror."),
        "import": IMPORTS,
        "extract": Entry("cli.corpus.extract:extract", "Extract the poses of videos into a corpus."),
        "compose": Entry("cli.corpus.compose:compose", "Compose continuous signing from real isolated signs."),
        "info": Entry("cli.corpus.manage:info", "Print counts, splits, signers, texts and quality of a corpus."),
        "show": Entry("cli.corpus.show:show", "Draw clips, .pose files and videos as animations and film strips."),
        "export": Entry("cli.corpus.manage:export", "Write clips as .pose files with an index.csv."),
        "doctor": Entry("cli.corpus.manage:doctor", "Check files, checksums, splits and poses; measure shortcuts."),
    },
    "features": {
        "extract": Entry("cli.features:extract", "Extract clip features with a sign classifier."),
        "glosses": Entry("cli.features:glosses", "Create oracle features: a fixed random vector per true gloss."),
        "import": Entry("cli.features:import_", "Import precomputed features, .npy or .pkl."),
        "info": Entry("cli.features:info", "Print the contents of a folder of features."),
    },
    "spot": Entry("cli.spot:spot", "Spot signs in continuous signing and save them as pseudo-labels."),
    "train": Entry("cli.train:train", "Train a recipe with Ray Train and DeepSpeed."),
    "tune": Entry("cli.tune:tune", "Search the settings of a recipe with Ray Tune."),
    "evaluate": Entry("cli.evaluate:evaluate", "Evaluate a model on a corpus."),
    "translate": Entry("cli.translate:translate", "Translate a video, a .pose file or a clip of a corpus into text."),
    "trajectories": Entry(
        "cli.trajectories:trajectories", "Print similarity trajectories of negative pairs in training."
    ),
    "compare": Entry("cli.compare:compare", "Compare evaluations, with paired significance tests."),
    "index": {
        "build": Entry("cli.index:build", "Embed a corpus and write a sharded, checksummed index version."),
        "add": Entry("cli.changes:add", "Add a recording of a sign to a live index."),
        "remove": Entry("cli.changes:remove", "Remove an entry from a live index."),
        "verify": Entry("cli.index:verify", "Verify the checksums of an index version."),
        "activate": Entry("cli.index:activate", "Make an index version the live one."),
    },
    "search": Entry("cli.search:search", "Search signs by a clip, clips by a text, or texts by a clip."),
    "show": {
        "map": Entry("cli.sign_to_word:show_map", "Plot similarities of the parts of a clip to the words of its text.")
    },
    "mine": Entry("cli.sign_to_word:mine", "Mine a dictionary: the windows most similar to each word."),
    "serve": Entry("cli.serve:serve", "Serve an index over HTTP with Ray Serve."),
    "keys": {
        "add": Entry("cli.keys:add", "Add an API key to a file of keys, and print it."),
        "list": Entry("cli.keys:list_", "List the API keys in a file."),
        "revoke": Entry("cli.keys:revoke", "Remove an API key from a file of keys."),
    },
    "submit": Entry("cli.jobs:submit", "Submit a signatlas command to a cluster as a Ray job."),
    "jobs": Entry("cli.jobs:jobs", "List the jobs of a cluster."),
    "logs": Entry("cli.jobs:logs", "Print the log of a job, or follow it."),
    "stop": Entry("cli.jobs:stop", "Stop a job."),
}


GROUP_HELP = {
    "corpus": "Fetch, import, extract, compose, inspect and export corpora.",
    "features": "Extract, import and inspect clip features of continuous signing.",
    "import": "Create a corpus from recordings or poses on this machine.",
    "index": "Build, verify and activate versions of an index, add signs to it and remove them.",
    "keys": "Add, list and revoke the API keys of a service.",
    "show": "Plot what a model computes.",
}
INTRODUCTION = """Train, search and serve joint embedding spaces of sign language.

Example:
  signatlas corpus fetch dgs
  signatlas train recipes/dgs_gesture.yaml
"""


def _overview(words: list[str], entries: Entries) -> str:
    """Return the help page of signatlas or of a command group, without importing any command."""
    rows = [(name, GROUP_HELP[name] if isinstance(entry, dict) else entry.help) for name, entry in entries.items()]
    width = max(len(name) for name, _ in rows)
    introduction = f"{GROUP_HELP[words[-1]]}\n" if words else INTRODUCTION
    lines = [f"Usage: {' '.join(['signatlas', *words])} COMMAND [OPTIONS]", "", introduction, "Commands:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, "", "Each command has its own --help, with an example."])


def _resolve(arguments: list[str]) -> tuple[list[str], Entry | None, list[str]]:
    """Split arguments into the words of the command, its entry (None after printing an overview), and the rest."""
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


def _command(name: str, function: Any) -> Any:
    """Return a typer command that shows brackets of its help texts instead of reading them as rich markup."""
    import typer
    from rich.markup import escape

    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(function)
    command: Any = typer.main.get_command(app)
    paragraphs = (command.help or "").split("\n\n")
    command.help = escape("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = escape(parameter.help)
    return command


def _run(words: list[str], entry: Entry, arguments: list[str]) -> int:
    """Run a command and return its exit code. Raises UserError for wrong options or arguments."""
    name = " ".join(["signatlas", *words])
    try:
        code = _command(words[-1], _function(entry.target))(args=arguments, prog_name=name, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # that of typer's usage errors, whose classes vary with its version
            raise
        raise UserError(f"{error.format_message().rstrip('.')}; see '{name} --help'") from error
    return code if isinstance(code, int) else 0


def main(arguments: list[str] | None = None) -> None:
    """Run a command. A UserError is printed as one line with exit code 2; Ctrl-C exits with 130."""
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
