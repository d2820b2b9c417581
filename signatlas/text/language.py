"""Codes of written languages (BCP 47): validation and suggestions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from signatlas.corpus.clips import SIGN_LANGUAGE_TAGS
from signatlas.errors import TextError

# Language, then script, region and variants (BCP 47, section 2.1, without extensions and private use).
_TAG = re.compile(r"([a-z]{2,3})(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z0-9]{5,8}|\d[a-z0-9]{3}))*", re.IGNORECASE)
# ISO 639-1: the two-letter codes of the IANA registry of language subtags.
_TWO_LETTERS = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja "
    "jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb "
    "nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq "
    "sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
)
TWO_LETTERS = frozenset(_TWO_LETTERS.split())
# Other spellings: three-letter codes, names, countries.
_ALIASES = {
    "ar": "ara arabic", "bg": "bul bulgarian", "cs": "ces cze czech cz", "da": "dan danish dk",
    "de": "deu ger german deutsch at", "el": "ell gre greek gr", "en": "eng english us gb",
    "es": "spa spanish español", "et": "est estonian", "fi": "fin finnish", "fr": "fra fre french français",
    "he": "heb hebrew iw", "hi": "hin hindi", "hu": "hun hungarian", "id": "ind indonesian",
    "it": "ita italian italiano", "ja": "jpn japanese jp", "ko": "kor korean", "lt": "lit lithuanian",
    "lv": "lav latvian", "nl": "nld dut dutch nederlands", "no": "nor norwegian", "pl": "pol polish polski",
    "pt": "por portuguese português", "ro": "ron rum romanian", "ru": "rus russian", "sk": "slk slo slovak",
    "sl": "slv slovene slovenian", "sv": "swe swedish", "th": "tha thai", "tr": "tur turkish",
    "uk": "ukr ukrainian ua", "vi": "vie vietnamese", "zh": "zho chi chinese cmn cn",
}  # fmt: skip
ALIASES = {name: code for code, names in _ALIASES.items() for name in names.split()}


def check_language(code: str, known: Collection[str] = ()) -> str:
    """Return a BCP 47 code in the spelling of ``known``, the languages of the texts; unchanged if ``known`` is empty.

    Without ``known`` only the form is checked, and that a two-letter code is in ISO 639-1. Raises TextError.

    >>> check_language("DE", ("de", "en"))
    'de'
    """
    if known:
        for name in known:
            if name.lower() == code.lower():
                return name
        raise TextError(f"no texts in language '{code}': there are {', '.join(sorted(known))}{_hint(code, known)}")
    tag = _TAG.fullmatch(code)
    if tag is None:
        raise TextError(f"language '{code}' is not a BCP 47 code, such as de, en or zh-Hans{_hint(code, TWO_LETTERS)}")
    language = tag.group(1).lower()
    if language == "sgn" or language in SIGN_LANGUAGE_TAGS.values():
        raise TextError(f"language '{code}' is a sign language: give that of the texts, such as de or en")
    if language in ALIASES or (len(language) == 2 and language not in TWO_LETTERS):
        raise TextError(f"language '{code}' is unknown; give a BCP 47 code{_hint(code, TWO_LETTERS)}")
    return code


def _hint(code: str, known: Collection[str]) -> str:
    """Return ``; did you mean X?`` with the closest code of ``known``, or an empty string."""
    main = re.split("[-_]", code.lower())[0]
    code_of_alias = ALIASES.get(main, main)
    near = [name for name in sorted(known) if name.split("-")[0].lower() == code_of_alias]
    if not near and len(main) > 2:
        names = difflib.get_close_matches(main, ALIASES, n=1, cutoff=0.75)
        near = [name for name in sorted(known) if names and name.split("-")[0].lower() == ALIASES[names[0]]]
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""
