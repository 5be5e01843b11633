# SPDX-License-Identifier: Apache-2.0
"""Normalises short texts for comparison: `normalise` maps equal answers to one form, `variant` unifies spellings.

Case, width, spacing, quotes, an X-ray's hyphen and a final full stop have no meaning in an answer. Signs, comparison
marks, decimals, ratios, "HER2-" and the case of a unit (mM is not mm) do, and no step here may drop them. The same
function is applied to the candidate and to the reference, and a text that becomes empty equals nothing.

Only spelling differences that cannot change the answer are unified: British and American, plural, Roman numerals after
"stage", "3 to 5" and "3-5", the order of a list; no synonyms, no abbreviations that the text does not explain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from string import ascii_uppercase

from medix_verl.choices import until_stable, words
from medix_verl.invisible import compatible

__all__ = ["CASED_UNITS", "bare", "items", "normalise", "plain", "readings", "same_accents", "variant"]

CASED_UNITS = words("mM uM µM μM nM pM cM Mm mG kG Mg mS kS Ms M D G H S T K C F J N V W")
"""Units after a number that would be another unit in lower case: molar, not metre; dioptre, not day; gauge, not gram;
tesla, not ton; siemens, not second."""
SPELLED = "zero one two three four five six seven eight nine ten eleven twelve fifteen twenty"
UNIT_BEHIND = re.compile(
    rf"((?:[0-9]|\b(?:{SPELLED.replace(' ', '|')}))[ -]?)([A-Za-z\u00b5\u03bc]{{1,2}})(?![^\W_])", re.IGNORECASE
)
PRIVATE = 0xE000
"""Start of Unicode's private use area, to which these capitals are mapped while the text is lower-cased."""
CAPITALS = {ord(letter): PRIVATE + index for index, letter in enumerate(ascii_uppercase)}
RESTORED = {place: letter for letter, place in CAPITALS.items()}

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
)
CORE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)
"""From the first letter or digit to the last, in one pass; a pattern for the ends would backtrack on runs of marks."""
HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
END_MARKS = ".,;!\u3002 "
WRAPS = {'"': '"', "'": "'", "(": ")", "[": "]", "{": "}", "*": "*", "\u300c": "\u300d", "\u3010": "\u3011"}
LIST_OF_NUMBERS = re.compile(r"\d\s?,\s?[\d+-]")
MAX_PEELS = 8
CACHED_CHARS = 400
"""Longer texts are not references, and are not cached to bound the cache's memory."""


def plain(text: str) -> str:
    """Fold width, case, dashes, quotes, comparison marks and white space; every other mark stays."""
    if text.isascii():  # fast path with the same result
        return " ".join(text.lower().replace("`", "'").replace(">=", "≥").replace("<=", "≤").split())
    text = unicodedata.normalize("NFKC", compatible(text).casefold())
    text = text.translate(SAME_SIGN).replace(">=", "≥").replace("<=", "≤")
    return " ".join(text.split())


def bare(text: str) -> str:
    """A text without the punctuation at both ends."""
    found = CORE.search(text)
    return "" if found is None else found[0]


def normalise(text: str) -> str:
    """Map texts that are clearly the same answer to the same form.

    Args:
        text: A candidate or a reference.

    Returns:
        The form to compare; empty for a text without content.
    """
    return remembered(text) if len(text) <= CACHED_CHARS else fold(text)


def fold(text: str) -> str:
    """`normalise`, without its cache."""
    text = plain(UNIT_BEHIND.sub(keep_capitals, compatible(text)))
    text = TIGHT.sub(r"\1", text.translate(RESTORED))
    text = " ".join(map(without_hyphens, text.split(" ")))
    for pattern, replacement in TIGHT_MARKS:
        text = pattern.sub(replacement, text)
    return until_stable(peel, text, MAX_PEELS)


def keep_capitals(found: re.Match[str]) -> str:
    """A number and its unit; capitals that distinguish the unit are mapped to the private use area."""
    unit = found[2]
    return found[1] + (unit.translate(CAPITALS) if unit in CASED_UNITS else unit)


def without_hyphens(word: str) -> str:
    """X-ray as x ray; but in a word with a sign, "ER-PR-HER2+", each hyphen may be a sign and stays."""
    if "-" not in word or "+" in word or word.rstrip(END_MARKS + "\"')]}*").endswith("-"):
        return word
    return HYPHEN.sub(" ", word)


# An answer is compared with its reference, options and synonyms by guards, equality and the judge: about 50 times. The
# references of a group are equal.
remembered = lru_cache(maxsize=8192)(fold)


def peel(text: str) -> str:
    """Drop closing punctuation, then one pair of quotes, brackets or bold marks around the whole text."""
    text = text.rstrip(END_MARKS)
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        return text[2:-2].strip()
    if len(text) < 2 or WRAPS.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    # "(a) or (b)" is not wrapped, and the brackets of "(3, 5]" or "[3, 5)" belong to an interval.
    if text[0] in inner or text[-1] in inner or LIST_OF_NUMBERS.search(inner):
        return text
    return inner.strip()


# Spelling -------------------------------------------------------------------------------------------------------------

GREEK = {
    "\u03b1": "alpha",
    "\u03b2": "beta",
    "\u03b3": "gamma",
    "\u03b4": "delta",
    "\u03ba": "kappa",
    "\u03bb": "lambda",
}
GREEK_LETTER = re.compile(rf"[{''.join(GREEK)}]-?")
ROMAN = {
    "i": 1,
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "v": 5,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "x": 10,
    "xi": 11,
    "xii": 12,
}
STAGED = re.compile(
    r"\b(stages?|grades?|types?|class|category|phase|degree|group|nerve|factor|zone|segment|figo|nyha|asa|isup)"
    r"([ -])(viii|vii|vi|v|iv|iii|ii|ix|xii|xi|x|i)(?=[abc]?\b)"
)
SPELLINGS = (
    (re.compile(r"\bx ray"), "xray"),
    (re.compile(r"\bmm hg\b"), "mmhg"),
    (re.compile(r"(?<=\d) to (?=\d)"), "-"),
    (re.compile(r"\b(?:[a-z]\.){2,}(?![a-z])|\b(?:[a-z]\.)+[a-z]\b(?!\.)"), lambda found: found[0].replace(".", "")),
    (re.compile(r"(?<=\d) ?\+ ?(?=\d)"), "+"),
    (re.compile(r"(?<=\d) ?[x\u00d7] ?(?=\d)"), "x"),
    (re.compile(r"\b(t[0-4x][a-d]?) (n[0-3x][a-c]?) (m[01x])\b"), r"\1\2\3"),
    (re.compile(r"\b(t[12])[- ]weighted\b"), r"\1"),
    (re.compile(r"\b(ct|mri|pet|spect) scan\b"), r"\1"),
    (re.compile(r"\b(upper|middle|lower) (left|right) (?=lobe|lung|quadrant)"), r"\2 \1 "),
    (re.compile(r"(?<=[a-z])'s\b"), ""),
    (re.compile(r"ae|oe"), "e"),
    (re.compile(r"\b(tum|col|od|vap|behavi|hum|lab|neighb)our"), r"\1or"),
    (re.compile(r"\b(fib|lit|cent|met|calib|tit)re(s?)\b"), r"\1er\2"),
    (re.compile(r"is(e|ed|es|ing|ation|ations)\b"), r"iz\1"),
    (re.compile(r"ys(e|ed|es|ing)\b"), r"yz\1"),
    (re.compile(r"\bsulph"), "sulf"),
    (re.compile(r"\bleuc(?=o)"), "leuk"),
    (re.compile(r"\bgrey\b"), "gray"),
)
PLURALS = (
    (re.compile(r"(?<=[a-z]{2}[^aeiou])ies\b"), "y"),
    (re.compile(r"(?<=[a-z]{2})(ss|x|ch|sh)es\b"), r"\1"),
    (re.compile(r"(?<=[a-z]{3}[a-hj-rtv-z])s\b"), ""),
)
SIDE = re.compile(r"(?:on |in )?(?:the )?(left|right)(?: side| sided| hand side)?")
EXPLAINED = re.compile(r"([^()]{1,200}?)\(([^()]{1,200})\)")
SEPARATOR = re.compile(r" ?(?:[,;&\u3001]|\band\b|\u548c) ?")
UNORDERED = re.compile(r"\b(?:no|not|without|or|than|then|before|after|from|respectively)\b|[/:<>=]")


@lru_cache(maxsize=8192)
def variant(form: str) -> str:
    """The common form of a normalised text's spellings.

    Args:
        form: Output of `normalise`.
    """
    side = SIDE.fullmatch(form)
    if side is not None:
        return side[1]
    form = STAGED.sub(lambda found: f"{found[1]}{found[2]}{ROMAN[found[3]]}", form)
    form = GREEK_LETTER.sub(lambda found: f"{GREEK[found[0][0]]} ", form)
    for pattern, replacement in (*SPELLINGS, *PLURALS):
        form = pattern.sub(replacement, form)
    return " ".join(form.split())


def readings(form: str) -> Iterator[str]:
    """A text's variant, and those of both names in "long name (LN)" if one is the initials of the other."""
    yield variant(form)
    found = EXPLAINED.fullmatch(form)
    if found is None:
        return
    first, second = found[1].strip(), found[2].strip()
    if initials(first) == second or initials(second) == first:
        yield variant(first)
        yield variant(second)


def initials(text: str) -> str:
    """The first letters of a text's words."""
    words = text.replace("-", " ").split()
    return "".join(word[0] for word in words) if len(words) > 1 else ""


def items(form: str) -> tuple[str, ...]:
    """The items of a list, in alphabetical order; () for a text that is not a list, or whose order may matter."""
    if UNORDERED.search(form):
        return ()
    parts = [variant(part) for part in SEPARATOR.split(form) if part.strip()]
    if len(parts) < 2 or not all(any(char.isalpha() for char in part) for part in parts):
        return ()
    return tuple(sorted(parts))


def same_accents(left: str, right: str) -> bool:
    """Whether two texts are equal except for accents, and one of them is ASCII."""
    return (left.isascii() or right.isascii()) and without_accents(left) == without_accents(right)


def without_accents(text: str) -> str:
    """The text without accents on Latin letters."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(char for char in parts if not "\u0300" <= char <= "\u036f"))
