"""The model registry: every type loads through one function, and mistakes are answered in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from signatlas import models
from signatlas.errors import ModelError
from signatlas.models import registry
from signatlas.models.language_model import mbart

TEXTS = ["morgen regen im norden", "sonne", "kalt und windig am abend"]
LANGUAGE = {"vocabulary": 40, "width": 16, "layers": 1, "heads": 2, "feedforward": 16, "positions": 40}


@pytest.fixture(scope="module")
def folders(small_model: Path, small_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small model folder per type."""
    root = tmp_path_factory.mktemp("registry")
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1, "heads": 2, "feedforward": 16}
    dual_config = models.DualEncoderConfig(sign=sizes, text=sizes, embedding=8)
    models.DualEncoder.build(dual_config, TEXTS, 6).save_pretrained(root / "dual")
    config = models.TranslatorConfig(sign={"width": 8}, language=LANGUAGE, tuning="full")
    models.Translator.build(config, TEXTS, "de", 6).save_pretrained(root / "translator")
    mbart.save(*mbart.build(config.language, TEXTS, ["de"]), root / "mbart", "card")
    return {
        registry.SIGN_ENCODER: small_model,
        registry.SIGN_CLASSIFIER: small_classifier,
        registry.DUAL_ENCODER: root / "dual",
        registry.TRANSLATOR: root / "translator",
        registry.LANGUAGE_MODEL: root / "mbart",
    }


@pytest.mark.parametrize("name", registry.MODELS)
def test_each_type_loads_as_its_class(name: str, folders: dict[str, Path]) -> None:
    assert models.model_type(folders[name]) == name
    model = models.load(folders[name])
    assert type(model) is registry.MODELS[name].load_class()
    assert type(models.load(str(folders[name]), type(model))) is type(model)


def test_every_type_has_a_test_folder(folders: dict[str, Path]) -> None:
    assert set(folders) == set(registry.MODELS)


def test_another_type_than_expected_is_one_line(folders: dict[str, Path]) -> None:
    path = folders[registry.SIGN_ENCODER]
    with pytest.raises(ModelError) as caught:
        models.load(path, models.Translator)
    assert str(caught.value) == f"{path} is a sign encoder, not a translator: give a translator"
    with pytest.raises(ModelError, match="is a sign encoder, not a dual encoder"):
        models.DualEncoder.from_pretrained(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "has no model_type: give a model folder that signatlas wrote"),
        ([1], "has no model_type"),
        ({"model_type": "bert"}, r"has the unknown model_type 'bert': supported are signatlas\.sign_encoder, "),
        ({"model_type": ["bert"]}, "has the unknown model_type"),
    ],
)
def test_a_missing_or_unknown_type_is_one_line(config: object, message: str, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((small_model / "model.safetensors").read_bytes())
    for read in (models.load, models.model_type, models.SignEncoder.from_pretrained):
        with pytest.raises(ModelError, match=message) as caught:
            read(tmp_path)
        assert str(tmp_path / "config.json") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (registry.SIGN_ENCODER, ("centre",)),
        (registry.SIGN_CLASSIFIER, ("architecture",)),
        (registry.DUAL_ENCODER, ("sign", "max_clips")),
        (registry.TRANSLATOR, ("translator", "sign", "colour")),
    ],
)
def test_a_key_of_an_earlier_version_is_one_line(
    name: str, keys: tuple[str, ...], folders: dict[str, Path], tmp_path: Path
) -> None:
    path = shutil.copytree(folders[name], tmp_path / "model") / "config.json"
    config = json.loads(path.read_text())
    section = config
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = 1
    path.write_text(json.dumps(config))
    key = ".".join(keys).removeprefix("translator.")
    with pytest.raises(ModelError) as caught:
        models.load(tmp_path / "model")
    assert str(caught.value) == (
        f"{path}: unknown key '{key}': written by another version of signatlas, train the model again"
    )


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model at"):
        models.load(tmp_path / "nothing")


def test_importing_the_package_and_reading_a_type_needs_no_torch(small_model: Path) -> None:
    code = (
        "import sys; from signatlas import models; models.model_type(sys.argv[1]); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(small_model)], check=True)
