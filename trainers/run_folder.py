"""The folder of a run: local, and mirrored to an object store where storage is one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from signatlas.errors import RecipeError
from signatlas.files import filesystem, read_bytes, write_text_atomically
from signatlas.recipe.keys import has_former_keys

KEPT_CHECKPOINTS = "kept_checkpoints"  # holds a model folder for each kept checkpoint, such as epoch_0005


class RunFolder:
    """``local`` holds model, results and curves; ``remote`` (a URI or None) gets a copy when a run starts and ends."""

    def __init__(self, storage_path: str, name: str):
        is_uri = "://" in storage_path
        self.local = (Path("runs") if is_uri else Path(storage_path)).absolute() / name
        self.remote = f"{storage_path.rstrip('/')}/{name}" if is_uri else None

    def read(self, name: str) -> str | None:
        """Return the text of a small file of the run, from its storage; None if there is no such file."""
        try:
            return read_bytes(f"{self.remote or self.local}/{name}").decode()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def begin(self, recipe: str, corpus_fingerprint: str) -> bool:
        """Claim the folder for a run; return True if it holds a run of the same recipe and corpus.

        The ``budget`` of a recipe is ignored. Raises RecipeError for a run of another recipe, or on another version of
        the corpus.
        """
        claim = json.dumps({"corpus_fingerprint": corpus_fingerprint}) + "\n"
        earlier = self.read("recipe.yaml")
        if earlier is None:
            write_text_atomically(self.local / "corpus.json", claim)
            write_text_atomically(self.local / "recipe.yaml", recipe)
            self.publish()
            return False
        advice = "pass --name NEW, or --fresh to replace it"
        if any(has_former_keys(settings) for settings in _settings(earlier)):
            raise RecipeError(f"{self} holds a run of an earlier version, which cannot be resumed: {advice}")
        if _settings(earlier) != _settings(recipe):
            raise RecipeError(f"{self} holds a run of another recipe or other settings: {advice}")
        if self.read("corpus.json") != claim:
            raise RecipeError(f"{self} holds a run on another version of the corpus: {advice}")
        return True

    def results(self) -> dict[str, Any] | None:
        """Return the results of a finished run; None for an unfinished one."""
        text = self.read("results.json")
        return None if text is None else json.loads(text)

    def clear(self) -> None:
        """Delete an earlier run. Raises RecipeError for a folder that does not hold a run."""
        if self.local.exists() and any(self.local.iterdir()) and not (self.local / "recipe.yaml").exists():
            raise RecipeError(f"{self.local} exists and is not a run: it is not deleted; pass another --name")
        shutil.rmtree(self.local, ignore_errors=True)
        if self.remote and self.read("recipe.yaml") is not None:
            store, path = filesystem(self.remote)
            store.delete_dir(path)

    def publish(self) -> None:
        """Copy the local folder to the object store, results.json last: it marks a finished run."""
        if self.remote is None:
            return
        store, root = filesystem(self.remote)
        files = sorted(p for p in self.local.rglob("*") if p.is_file())
        for path in sorted(files, key=lambda p: p.name == "results.json"):
            target = f"{root}/{path.relative_to(self.local).as_posix()}"
            store.create_dir(target.rpartition("/")[0])
            with store.open_output_stream(target) as stream:
                stream.write(path.read_bytes())

    def __str__(self) -> str:
        return self.remote or str(self.local)


def _settings(recipe: str) -> list[Any]:
    """Return the YAML documents of a recipe without ``budget`` at any depth."""

    def without_budget(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: without_budget(value) for key, value in node.items() if key != "budget"}
        return node

    return [without_budget(document) for document in yaml.safe_load_all(recipe)]
