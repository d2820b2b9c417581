"""Codes of written languages, and what was meant by wrong ones."""

from __future__ import annotations

import pytest

from signatlas.errors import TextError
from signatlas.text.language import ALIASES, TWO_LETTERS, check_language


@pytest.mark.parametrize(
    "code", ["de", "en", "zh", "zh-Hans", "de-AT", "en-US", "es-419", "yue", "sl-rozaj", "de-1996"]
)
def test_well_formed_codes(code):
    assert check_language(code) == code


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("", ""),
        ("d", ""),
        ("xx", ""),
        ("german", "did you mean de?"),
        ("Germna", "did you mean de?"),
        ("ger", "did you mean de?"),
        ("de_DE", "did you mean de?"),
        ("english", "did you mean en?"),
        ("cn", "did you mean zh?"),
        ("de-", "did you mean de?"),
        ("12", ""),
    ],
)
def test_others_are_refused_with_what_was_meant(code, hint):
    with pytest.raises(TextError) as caught:
        check_language(code)
    assert str(caught.value).startswith(f"language '{code}'") and str(caught.value).endswith(hint)
    assert "did you mean" in str(caught.value) or not hint
    assert hint or "did you mean" not in str(caught.value)


@pytest.mark.parametrize("code", ["gsg", "ase", "sgn-DE"])
def test_a_sign_language_is_no_language_of_texts(code):
    with pytest.raises(TextError, match="is a sign language"):
        check_language(code)


def test_known_languages_decide():
    assert check_language("EN", ["de", "en"]) == "en"
    assert check_language("zh-hans", ["zh-Hans"]) == "zh-Hans"
    with pytest.raises(TextError, match=r"^no texts in language 'ger': there are de, en; did you mean de\?$"):
        check_language("ger", ["en", "de"])
    with pytest.raises(TextError, match=r"there are de, en; did you mean de\?$"):
        check_language("de-AT", ["en", "de"])
    with pytest.raises(TextError, match=r"there are de, en$"):
        check_language("fr", ["en", "de"])


def test_the_list_is_that_of_iso_639_1():
    assert len(TWO_LETTERS) == 183
    assert set(ALIASES.values()) <= TWO_LETTERS
    assert not ALIASES.keys() & TWO_LETTERS  # what is a code must not be taken for another
