"""Names of sign languages: ISO 639-3 codes, and the old tags such as sgn-DE that stand for one."""

from __future__ import annotations

import re

from signatlas.errors import CorpusError

# Preferred values of the redundant sgn-* tags in the IANA language subtag registry.
OLD_TAGS = {
    "sgn-be-fr": "sfb", "sgn-be-nl": "vgt", "sgn-br": "bzs", "sgn-ch-de": "sgg", "sgn-co": "csn", "sgn-de": "gsg",
    "sgn-dk": "dsl", "sgn-es": "ssp", "sgn-fr": "fsl", "sgn-gb": "bfi", "sgn-gr": "gss", "sgn-ie": "isg",
    "sgn-it": "ise", "sgn-jp": "jsl", "sgn-mx": "mfs", "sgn-ni": "ncs", "sgn-nl": "dse", "sgn-no": "nsl",
    "sgn-pt": "psr", "sgn-se": "swl", "sgn-us": "ase", "sgn-za": "sfs",
}  # fmt: skip


def sign_language_code(name: str) -> str:
    """The ISO 639-3 code of a sign language. Raises CorpusError for anything else.

    >>> sign_language_code("sgn-DE"), sign_language_code("ase")
    ('gsg', 'ase')
    """
    code = OLD_TAGS.get(name.lower(), name)
    if not re.fullmatch("[a-z]{3}", code):
        raise CorpusError(f"sign language '{name}': give its ISO 639-3 code, such as ase, gsg or bfi")
    return code
