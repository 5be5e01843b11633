# SPDX-License-Identifier: Apache-2.0
"""When two short texts are plainly the same: `normalise` gives both the same form.

Case, width, spacing, quotes, an X-ray's hyphen and a final full stop carry no meaning in an answer; signs, comparison
marks, decimals, ratios and "HER2-" do, and no step here may drop one of those. The same function is applied to the
candidate and to the reference, and a text of which nothing is left equals nothing.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["normalise", "plain"]

# What Unicode's compatibility forms would fold into plain digits, changing the number: 10⁵ into 105, 2½ into 21/2.
SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
SUPERSCRIPT_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
VULGAR_FRACTION = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞↉])")
SAME_SIGN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u2032`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb", '"'),
        "\u2044": "/",
    }
)
TIGHT = re.compile(r" ?([;:/()\[\]{}<>=%*&|!?≤≥±~\u00d7^\"']) ?")
TIGHT_MARKS = (
    (re.compile(r" (?=\+(?!\d))|(?<=\+) (?=\D)"), ""),
    (re.compile(r" (?=,)|(?<=\D,) | (?<=,.)(?=\D)"), ""),
    (re.compile(r" (?=\.(?!\d))|(?<=\.) (?=\D)"), ""),
    (re.compile(r"(?<=\d) - (?=\d)"), "-"),
    (re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])"), " "),
)
WRAPS = {'"': '"', "'": "'", "(": ")", "[": "]", "{": "}", "*": "*"}
LIST_OF_NUMBERS = re.compile(r"\d\s?,\s?[\d+-]")
MAX_PEELS = 8
CACHED_CHARS = 400
"""Longer texts are no references, and would make the memory of what was normalised large."""


def plain(text: str) -> str:
    """Fold width, case, dashes, quotes, comparison marks and white space; every other mark stays."""
    if text.isascii():  # the same, without what ASCII does not have
        return " ".join(text.lower().replace("`", "'").replace(">=", "≥").replace("<=", "≤").split())
    text = SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(SUPERSCRIPT_DIGITS), text)
    text = VULGAR_FRACTION.sub(" ", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not text.isascii():  # ASCII has no invisible sign, and this line is the dear one
        text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    text = text.translate(SAME_SIGN).replace(">=", "≥").replace("<=", "≤")
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Give two texts that are plainly the same answer the same form.

    Args:
        text: A candidate or a reference.

    Returns:
        The form to compare; empty for a text that says nothing.
    """
    return remembered(text) if len(text) <= CACHED_CHARS else fold(text)


def fold(text: str) -> str:
    """`normalise`, without its memory."""
    text = TIGHT.sub(r"\1", plain(text))
    for pattern, replacement in TIGHT_MARKS:
        text = pattern.sub(replacement, text)
    for _ in range(MAX_PEELS):
        peeled = peel(text)
        if peeled == text:
            break
        text = peeled
    return text


# One answer is compared with its reference, its options and its synonyms, by the guard, by equality and by the judge:
# some 50 times, and the references of a group are the same texts again.
remembered = lru_cache(maxsize=8192)(fold)


def peel(text: str) -> str:
    """Drop closing punctuation, then one pair of quotes, brackets or bold marks around the whole text."""
    text = text.rstrip(".,;! ")
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        return text[2:-2].strip()
    if len(text) < 2 or WRAPS.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    # "(a) or (b)" is not wrapped, and the brackets of "(3, 5]" or "[3, 5)" belong to an interval.
    if text[0] in inner or text[-1] in inner or LIST_OF_NUMBERS.search(inner):
        return text
    return inner.strip()
