# SPDX-License-Identifier: Apache-2.0
"""Unicode normalisation for every comparison of texts: removes invisible characters and applies NFKC.

Invisible are Unicode's format characters (zero-width space, byte order mark, soft hyphen, direction marks, tags), the
default-ignorable ones (variation selectors, Hangul fillers, the grapheme joiner), and the blank Braille pattern. They
come from web pages and editors.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["compatible", "visible"]

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def visible(text: str) -> str:
    """A text without invisible characters; white space is kept."""
    return text if text.isascii() else _INVISIBLE.sub("", text)


# NFKC would turn these into plain digits and change the number: 10⁵ into 105, 2½ into 21/2.
SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
VULGAR_FRACTION = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞↉])")


def compatible(text: str) -> str:
    """NFKC form (width, ligatures and the like), without invisible characters; powers and fractions are preserved."""
    if text.isascii():
        return text
    text = visible(text)
    text = SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(SUPERSCRIPT_DIGITS), text)
    return unicodedata.normalize("NFKC", VULGAR_FRACTION.sub(" ", text))
