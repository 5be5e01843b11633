# SPDX-License-Identifier: Apache-2.0
"""The parser of multiple-choice answers: which option a text chooses, or whether it says yes or no.

It is used by equality, the rule judge, the guards and the evaluation. It reads the common forms of a choice ("B",
"\\boxed{B}", "The correct answer is B. Here is why: ...", "Ceftriaxone (B)", {"answer": "B"}), and returns None where
it is ambiguous: two options, an option that is ruled out, a hedge, a retraction, a letter that may be an article ("A
pneumothorax"), a genus ("E. coli") or part of a name ("hepatitis B"). It takes time linear in the text.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from string import ascii_uppercase

from medix_verl.invisible import compatible

__all__ = [
    "Choices",
    "Mention",
    "fold",
    "holds",
    "index_of_label",
    "mentions",
    "read_choice",
    "read_yes_no",
    "until_stable",
    "unwrap",
    "words",
]

MAX_CHARS = 4000
"""Longer texts are not parsed."""
MAX_OPTION_CHARS = 500
MAX_LETTERS = 60
"""Maximum number of letters that are checked as labels; a text with more is not a choice."""


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


def is_long(text: str) -> bool:
    """Whether a text is too long to be parsed; one compatibility character may stand for 18 letters."""
    return len(text) > MAX_CHARS or len(compatible(text)) > MAX_CHARS


# Wrappers ------------------------------------------------------------------------------------------------------------

SPECIAL = re.compile(
    r"<\|[^|<>]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>|</?answer>|</?final>|</?think(?:ing)?>", re.IGNORECASE
)
FENCE = re.compile(r"```[a-z]*\n?")
BOXED = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]{0,200}\}){0,400})\}")
LATEX = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mathit|rm|bf)\b\s*|\\[()\[\],;:! ]|\\(?=[%&#_])|[{}]"
)
DOLLARS = re.compile(r"\$([^$\n]{0,300})\$")
"""A formula; a single dollar sign is a price."""
# A star between letters or digits is part of a name (HLA-B*27); a dash or comparison sign before a number is kept.
MARKDOWN = re.compile(
    r"</?(?:b|i|u|p|em|strong|br) ?/?>|(?<![^\W_])\*{1,3}|\*{1,3}(?![^\W_])|_{2}|`"
    r"|^[ \t]*(?:#{1,6}|\u2022|(?:>|-)(?![ \t]*[0-9.]))[ \t]+|[\u2713\u2714\u2705]\ufe0f?",
    re.MULTILINE,
)
QUOTES = str.maketrans({
    **dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u3010\uff3b", "["), **dict.fromkeys("\u3011\uff3d", "]"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    "\u3002": ".", "\u3001": ",", "\u2192": "=",
})  # fmt: skip
ANSWER_KEYS = words(
    """
    answer final_answer finalanswer choice option label prediction selected selected_option correct_answer
    correct_option answer_choice response
    """
)
EXPLAINING_KEYS = words(
    """
    explanation reason reasoning rationale thought thoughts thinking confidence why
    """
)


MAX_LAYERS = 4
"""Layers of formatting: "**\\(\\text{B}\\)**" has three."""
PYTHON_DICT = re.compile(r"\{\s*'(\w{1,30})'\s*:\s*'([^']{1,300})'\s*\}")


def unwrap(text: str) -> str:
    """A text without formatting: quote shapes, LaTeX, Markdown, an enclosing JSON object, special tokens.

    Line breaks are kept; a text that ends with one boxed expression after its reasoning becomes the box's content.
    """
    return until_stable(unwrap_once, text)


def until_stable(step: Callable[[str], str], text: str, limit: int = MAX_LAYERS) -> str:
    """Apply a step until it changes nothing, at most `limit` times: what is removed can uncover more of it."""
    for _ in range(limit):
        inner = step(text)
        if inner == text:
            break
        text = inner
    return text


def unwrap_once(text: str) -> str:
    """`unwrap`, without what only becomes formatting when other formatting around it is removed."""
    text = compatible(text)
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
    text = FENCE.sub("", SPECIAL.sub(" ", text)).strip()
    text = from_box(from_json(text))
    text = MARKDOWN.sub("", LATEX.sub(" ", DOLLARS.sub(r" \1 ", text)).translate(QUOTES))
    text = "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    return text[1:-1].strip() if len(text) > 2 and text[0] == text[-1] and text[0] in "'_" else text


def from_box(text: str) -> str:
    """The content of the one box of a text, unless nearby words negate or retract it; otherwise the text."""
    boxes = list(BOXED.finditer(text))
    if len({box[1].strip() for box in boxes}) != 1:
        return text
    before = text[: boxes[0].start()].rpartition(".")[2].casefold()
    after = text[boxes[-1].end() :].casefold()
    if NEGATES.search(before) or NEGATED_BEHIND.match(after.lstrip("$*")) or TAKEN_BACK.search(after):
        return text
    return boxes[0][1].strip()


def from_json(text: str) -> str:
    """The answer in a JSON object with one answer and optional reasons, or in a JSON string; otherwise the text."""
    if not text.startswith(("{", '"')):
        return text
    python = PYTHON_DICT.fullmatch(text)
    if python is not None and python[1] in ANSWER_KEYS:
        return python[2]
    try:
        value = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str):
        return value
    pairs = [(str(pair[0]).casefold(), pair[1]) for pair in value if isinstance(pair, tuple)]
    answers = [held for key, held in pairs if key in ANSWER_KEYS]
    others = [key for key, _ in pairs if key not in ANSWER_KEYS | EXPLAINING_KEYS]
    return answers[0] if len(answers) == 1 and not others and isinstance(answers[0], str) else text


# Options -------------------------------------------------------------------------------------------------------------

LABELLED = re.compile(
    r"\s*(?:option |choice )?(?:\(([a-z])\)|([a-z])[.):]|([a-z]) -(?= )) ?(.+)", re.DOTALL | re.IGNORECASE
)
ARTICLE = re.compile(r"(?:an?|the) (?=\w{2})")


@dataclass(frozen=True, slots=True)
class Choices:
    """The options of a question, parsed once."""

    texts: tuple[str, ...]
    """Without the label of their position: "A. pneumonia" as the first option is "pneumonia"."""
    forms: tuple[str, ...]
    """`texts`, folded."""
    are_letters: bool
    """Whether some options are letters that are also labels (blood groups): such a letter is then read as a text. Other
    labels are still read, and any label with its own text after it: "C" and "C. AB" of A, B, AB and O."""
    in_names: frozenset[str]
    """Letters that begin or end an option's text ("hepatitis B"): alone they are ambiguous, and are not read."""
    yes_no: tuple[int, int] | None
    """Indices of the options yes and no, if there is one of each."""

    @classmethod
    def of(cls, options: Sequence[str]) -> Choices:
        """Read the options of a question, in their order."""
        return _choices(tuple(options))


@lru_cache(maxsize=512)
def _choices(options: tuple[str, ...]) -> Choices:
    texts = tuple(unlabelled(index, option) for index, option in enumerate(options))
    forms = tuple(fold(text) for text in texts)
    names = [form.split() for form in forms]
    yes, no = ([place for place, form in enumerate(forms) if form in said] for said in (YES, NO))
    return Choices(
        texts=texts,
        forms=forms,
        are_letters=any(len(form) == 1 and 0 <= ascii_uppercase.find(form.upper()) < len(forms) for form in forms),
        in_names=frozenset(end for name in names if len(name) > 1 for end in (name[0], name[-1]) if len(end) == 1),
        yes_no=(yes[0], no[0]) if len(yes) == len(no) == 1 else None,
    )


def unlabelled(index: int, option: str) -> str:
    """An option's text without the label of its position."""
    found = LABELLED.fullmatch(option)
    if found is None or index_of_label(found[1] or found[2] or found[3]) != index:
        return option
    return found[4].strip()


def index_of_label(label: str) -> int | None:
    """The index of a label, 0 for A or a; None if it is not a letter."""
    letter = label.strip(" ().[]:").upper()
    return ascii_uppercase.index(letter) if len(letter) == 1 and letter in ascii_uppercase else None


def fold(text: str) -> str:
    """Lower case, single spaces, no hyphens between letters, no punctuation at the ends, no leading article."""
    return until_stable(fold_once, text)


def fold_once(text: str) -> str:
    """`fold`, one layer."""
    text = " ".join(same_length(unwrap(text)).split()).strip(" .,;:!\"'")
    return ARTICLE.sub("", text, count=1) if ARTICLE.match(text) else text


HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")


def same_length(text: str) -> str:
    """Lower case, with spaces for hyphens between letters; every character keeps its position."""
    small = "".join(char.lower() if len(char.lower()) == 1 else char for char in text)
    return HYPHEN.sub(" ", small)


# Mentions of options -------------------------------------------------------------------------------------------------

NEGATES = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|except|excluding|excludes?|excluded|without|unlike|eliminates?|eliminated"
    r"|eliminating|over|than|instead of|anything but|rul(?:e|es|ed|ing) out|reject(?:s|ed|ing)?)\b|n't\b|不|非|排除"
)
NEGATED_BEHIND = re.compile(
    r"[\"')\]]*(?: (?:is|are|was|would be|seems|looks|does|can|could)(?: definitely| clearly| probably| most)? not\b"
    r"|[ ,]*(?:(?:is|are|was|would be|seems|looks) )?(?:definitely |clearly |probably |most )?"
    r"(?:incorrect|wrong|false|unlikely|ruled out|excluded|less |eliminated)"
    r"| (?:not (?:correct|right|the)|isn't|aren't|wasn't|doesn't|cannot|can't)|\u4e0d|\u9519)"
)
CLAUSE = re.compile(r"[,;:.!?\n]|\b(?:but|and)\b")
LABEL = re.compile(r"(?<![^\W_])(?<![-'+.])(?:[(\[]\s?([A-Za-z])\s?[)\]]|([A-Za-z])(?![\w'+-]|\.\w))", re.ASCII)
PART_OF_NAME = re.compile(
    r"\b(?:vitamins?|hepatitis|influenza|type|group|class|grade|stage|factor|protein|segment|zone|level|haemophilia"
    r"|hemophilia|lambda|phase|category|immunoglobulin|ig|streptococcus|strep|ebola|coxsackie) $"
)
NAMED = re.compile(r"(?:\b(?:options?|choices?|answers?|letter|label)|选项|选择|选) ?(?:is |are |: ?|= ?)?$")
LOWER_LABEL = re.compile(r"(?:(?:options?|choices?) )?[a-z] ?[.):]?")
GENUS = re.compile(r"\. [a-z]")
BETWEEN = re.compile(r" ?(?:[).\]:=,-]|\bis|\bi\.e\.,?|\bnamely|\bi\.e\. )? ?[(\"']?(?:an? |the )?")


@dataclass(frozen=True, slots=True)
class Mention:
    """A span of a text that names an option."""

    start: int
    end: int
    index: int
    by_label: bool
    by_text: bool
    negated: bool = False


def mentions(text: str, choices: Choices) -> tuple[str, list[Mention]]:
    """The options that a text names, in the order of the text.

    Args:
        text: Already unwrapped.
        choices: The options.

    Returns:
        The text in lower case, character for character, and its mentions. "B. pneumothorax" and "pneumothorax (B)" are
        one mention if the two agree.
    """
    small = same_length(text)
    by_text = texts_in(small, choices)
    by_label = labels_in(text, small, choices, by_text)
    if choices.are_letters:
        by_label = [one for one in by_label if ascii_uppercase[one.index].lower() not in choices.forms]
    found = merged(small, sorted(by_text + by_label, key=lambda one: one.start))
    return small, with_lists([negate(mention, small) for mention in found], small)


def texts_in(small: str, choices: Choices) -> list[Mention]:
    """Mentions by option text, whole words only, longest first: "T2 FLAIR" is not "T2"."""
    free = bytearray(b"\1") * len(small)
    found: list[Mention] = []
    for index in sorted(range(len(choices.forms)), key=lambda place: -len(choices.forms[place])):
        form = choices.forms[index]
        if not form or len(form) > MAX_OPTION_CHARS or choices.forms.index(form) != index:
            continue
        for start in places_of(small, form):
            end = start + len(form)
            if all(free[start:end]):
                free[start:end] = bytes(len(form))
                found.append(Mention(start, end, index, False, True))
    return found


def places_of(text: str, part: str) -> Iterator[int]:
    """The positions of a part as whole words in a text, without overlaps."""
    start = text.find(part) if part else -1
    while start >= 0:
        if is_whole(text, start, start + len(part)):
            yield start
        start = text.find(part, start + len(part))


def holds(text: str, part: str) -> bool:
    """Whether a text contains a part as whole words."""
    return any(True for _ in places_of(text, part))


def is_whole(text: str, start: int, end: int) -> bool:
    """Whether a span has word boundaries at both ends; Chinese and Japanese have no spaces."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (before.isalnum() and before.isascii() and text[start].isascii()) and not (
        after.isalnum() and after.isascii() and text[end - 1].isascii()
    )


def labels_in(text: str, small: str, choices: Choices, taken: list[Mention]) -> list[Mention]:
    """Mentions by label: the letters in a text that name options."""
    covered = bytearray(len(text))
    for mention in taken:
        covered[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
    all_lower = bool(LOWER_LABEL.fullmatch(text)) or bool(LOWER_LIST.fullmatch(text))
    found = []
    for match in islice(LABEL.finditer(text), MAX_LETTERS):
        bracketed, letter = bool(match[1]), match[1] or match[2]
        index = ascii_uppercase.find(letter.upper())
        if index >= len(choices.forms) or covered[match.start()]:
            continue
        named = bool(NAMED.search(small[max(0, match.start() - 20) : match.start()]))
        if is_label(text, small, match, choices, bracketed or named, all_lower):
            found.append(Mention(match.start(), match.end(), index, True, False))
    return found


LOWER_LIST = re.compile(r"\(?[a-z]\)?(?:(?: ?(?:,|/|&|and|or) ?)+\(?[a-z]\)?)+[.)]?")


def is_label(text: str, small: str, match: re.Match[str], choices: Choices, marked: bool, all_lower: bool) -> bool:
    """Whether a letter names an option: not an article, a genus, a pronoun or part of a name."""
    letter, end = match[1] or match[2], match.end()
    rest, own = text[end : end + 3], choices.forms[ascii_uppercase.index(letter.upper())]
    behind = BETWEEN.match(small, end)
    pairs = behind is not None and bool(own) and small.startswith(own, behind.end())
    if PART_OF_NAME.search(small[max(0, match.start() - 20) : match.start()]):
        return False
    article = ARTICLE.match(small, end + 2)
    if GENUS.match(rest) and not small.startswith((*REASONS, *choices.forms), article.end() if article else end + 2):
        return False
    if letter.lower() in choices.in_names and not marked and not pairs and not rest.startswith((")", ".", ":")):
        return False
    # "A fracture", "the answer is a fracture", "I see": a word follows, other than those that follow only a label.
    is_word = not match[1] and letter in "AaIi" and bool(re.match(r" \w\w", rest)) and not VERB.match(small, end)
    if marked:
        return pairs or not is_word
    if letter.islower() and not all_lower:
        return rest[:1] in (")", ".", ":") and pairs
    return pairs or not is_word


VERB = re.compile(r" (?:is|was|or|and|because|since|as|but|then|not)\b")
REASONS = ("because", "since", "as ", "it ", "this ", "the ", "here", "explanation", "reason")


def merged(small: str, found: list[Mention]) -> list[Mention]:
    """Merge adjacent mentions of one option, "B. pneumothorax" or "pneumothorax (B)", into one."""
    result: list[Mention] = []
    for mention in found:
        last = result[-1] if result else None
        if last is not None and last.index == mention.index and last.by_label != mention.by_label:
            between = small[last.end : mention.start]
            if len(between) <= 12 and BETWEEN.fullmatch(between):
                both = Mention(last.start, mention.end, mention.index, True, True)
                result[-1] = both
                continue
        result.append(mention)
    return result


LISTED = re.compile(r"[ ,/]{0,4}(?:\b(?:or|nor|and)\b)?[ ,/]{0,4}")


def with_lists(found: list[Mention], small: str) -> list[Mention]:
    """Negate every mention of a list after "not": "not A, B or D"; "not A, B" is not such a list."""
    result = list(found)
    place = 0
    while place < len(result):
        last = place
        while last + 1 < len(result) and LISTED.fullmatch(small[result[last].end : result[last + 1].start]):
            last += 1
        run = small[result[place].end : result[last].start] if last > place else ""
        if result[place].negated and re.search(r"\bn?or\b", run):
            result[place : last + 1] = [replace(mention, negated=True) for mention in result[place : last + 1]]
        place = last + 1
    return result


def negate(mention: Mention, small: str) -> Mention:
    """The mention, marked as negated if the text rules it out."""
    before = CLAUSE.split(small[max(0, mention.start - 60) : mention.start])[-1]
    near = " ".join(before.split()[-5:])
    negated = bool(NEGATES.search(near)) or bool(NEGATED_BEHIND.match(small, mention.end))
    return replace(mention, negated=negated)


# The choice ----------------------------------------------------------------------------------------------------------

FRAME = words(
    """
    the a an my our your answer answers ans is are was be being would should will must option choice choices
    letter label response selection solution diagnosis result correct right best final most likely appropriate
    single accurate suitable probable i we choose chose chosen select selected pick picked go with say think
    believe conclude it this that these there here so thus therefore hence then ok okay of to for question in
    conclusion summary namely please definitely clearly certainly confident sure find below as follows one output
    prediction based on findings image
    respuesta la el correcta opcion opción es réponse bonne est die antwort ist richtige resposta correta
    risposta corretta è ответ правильный 정답 정답은 답 답은 جواب الإجابة उत्तर
    """
)
"""Words around a choice that only say that it is the answer."""
CJK_FRAME = re.compile(
    "[\u672c\u9898\u9053\u6211\u8ba4\u4e3a\u56e0\u6b64\u6240\u4ee5\u5e94\u8be5\u6545\u6b63\u786e\u6700\u7ec8\u7684"
    "\u7b54\u6848\u9009\u62e9\u9879\u662f\u70ba\u4e3a\u9078\u6b63\u89e3\u7b54\u3048\u306f\u3067\u3059]+"
)
COMMITS = re.compile(
    r"(?:\b(?:answer|choice|option|diagnosis|response|ans|correct|choose|select|pick|final|conclude|go with"
    r"|respuesta|réponse|antwort|resposta|risposta|ответ)\b|答案|正确|选|答え|정답)[^.!?\n]{0,40}$"
)
CONFIRMED = re.compile(
    r"[\"')\]]* (?:is|was|would be) (?:the |my |our )?(?:final |most |best |single )?"
    r"(?:correct|right|best|answer|likely|appropriate|choice)\b"
)
TAKEN_BACK = re.compile(
    r"\b(?:wait|actually|correction|scratch|sorry|second thought|reconsider|wrong|incorrect|mistake|mistaken|retract)\b"
)
RETRACTED = re.compile(
    TAKEN_BACK.pattern + r"|\b(?:instead|alternatively|not sure|unsure|uncertain|maybe|perhaps|possibly|might|either"
    r"|however|but|although|cannot be)\b|\bor\b|\?"
)
TAIL = re.compile(
    r"[\"')\]]*(?:[.:;!]?\n|[.!;:,]* ?-{1,2} |[.:;!] (?=[A-Z\"'(])|[:;] (?=(?:it|this|the|he|she)\b)|[.!]? ?$"
    r"|,? (?=(?:because|since|as|given|due|which|for|based|i\.e)\b))"
)
MIN_REASON = 4
"""Minimum words of a sentence that counts as a reason."""
WORD = re.compile(r"[^\W_]+")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def read_choice(text: str, choices: Choices, question: str | None = None) -> int | None:
    """Which option a text chooses.

    Args:
        text: The answer, as written.
        choices: The options of the question.
        question: The question, needed for yes/no options; None if not known.

    Returns:
        The option's index, or None if the text chooses none or several, or is ambiguous.
    """
    if is_long(text) or not choices.forms:
        return None
    text = unwrap(text)
    whole = fold(text)
    if whole in choices.forms:
        # The text does not distinguish options with the same text.
        return choices.forms.index(whole) if choices.forms.count(whole) == 1 else None
    own = with_own_text(text, choices) if choices.are_letters else None
    if own is not None:
        return own
    said = read_yes_no(text, question) if choices.yes_no is not None else None
    if said is not None and choices.yes_no is not None:
        return choices.yes_no[0 if said else 1]
    small, found = mentions(text, choices)
    if choices.yes_no is not None and any(not mention.by_label for mention in found):
        return None  # "No, it is a no": read_yes_no would have returned a value
    positive = {mention.index for mention in found if not mention.negated}
    if not positive or positive & {mention.index for mention in found if mention.negated}:
        return None
    last = [mention for mention in found if not mention.negated][-1]
    if len(positive) == 1:
        sure = is_framed(small, found) or is_explained(text, small, found) or is_final(text, small, found, last)
    else:
        sure = is_final(text, small, found, last)
    if not sure or (choices.forms.count(choices.forms[last.index]) > 1 and not last.by_label):
        return None
    return last.index


def with_own_text(text: str, choices: Choices) -> int | None:
    """The option whose label and text together are the whole text: "(C) AB", "D. O"."""
    found = LABELLED.fullmatch(text)
    index = index_of_label(found[1] or found[2] or found[3]) if found else None
    if found is None or index is None or index >= len(choices.forms):
        return None
    return index if fold(found[4]) == choices.forms[index] else None


CONTRACTED = re.compile(r"'(?:s|d|ll|m|re|ve)\b")


STRAY = re.compile(r"(?<![^\W_])[a-z][.):]")
"""A label that was not read as a label: "a.pneumonia"."""


def is_frame(small: str) -> bool:
    """Whether every word of a text only says that something is the answer."""
    latin = CJK_FRAME.sub(" ", CONTRACTED.sub(" ", small))
    return not STRAY.search(small) and all(word in FRAME for word in WORD.findall(latin))


RULED_OUT = re.compile(NEGATES.pattern + r"|\b(?:but|or|nor|and)\b")


def without(small: str, found: list[Mention]) -> str:
    """A text without its mentions of options."""
    parts, start = [], 0
    for mention in found:
        parts.append(small[start : mention.start])
        behind = NEGATED_BEHIND.match(small, mention.end) if mention.negated else None
        start = behind.end() if behind else mention.end
    return " ".join([*parts, small[start:]])


def is_framed(small: str, found: list[Mention]) -> bool:
    """Whether the text around the mentions only says that this is the answer."""
    if "?" in small:
        return False
    rest = without(small, found)
    if any(mention.negated for mention in found):
        rest = RULED_OUT.sub(" ", rest)
    return is_frame(rest)


def is_explained(text: str, small: str, found: list[Mention]) -> bool:
    """Whether a text begins with its choice and then gives reasons, without retracting it or naming another option."""
    first = found[0]
    if first.negated:
        return False
    opening = small[: first.start]
    confirmed = CONFIRMED.match(small, first.end)
    end = confirmed.end() if confirmed else first.end
    # An option's text alone may be the subject of a sentence that negates it: "Pneumothorax. Absent."
    committed = first.by_label or confirmed is not None or bool(COMMITS.search(opening))
    tail = TAIL.match(text, end)
    if tail is None or not is_frame(opening) or not committed or RETRACTED.search(small, end):
        return False
    # "B. Balantidium" is another name, not a reason.
    line = text[tail.end() :].partition("\n")[0]
    is_reason = len(line.split()) >= MIN_REASON or small.startswith(REASONS, tail.end())
    return "\n" in tail[0] or confirmed is not None or is_reason


CONCLUDES = re.compile(r"\b(?:final|so|therefore|thus|hence|consequently|but the)\b|; ")


def is_final(text: str, small: str, found: list[Mention], last: Mention) -> bool:
    """Whether a text ends with a sentence that commits to its last mention; others may be discussed before."""
    start = max((match.end() for match in SENTENCE.finditer(text, 0, last.start)), default=0)
    start = max((match.start() for match in CONCLUDES.finditer(small, start, last.start)), default=start)
    for mention in found:
        before = SENTENCE.split(small[max(0, mention.start - 80) : mention.start])[-1]
        # Others may be discussed before, but not also be given as the answer.
        if mention.index != last.index and (mention.start >= start or COMMITS.search(before)):
            return False
    opening = small[start : last.start]
    confirmed = CONFIRMED.match(small, last.end)
    end = confirmed.end() if confirmed else last.end
    committed = bool(COMMITS.search(opening)) or confirmed is not None
    return committed and is_frame(small[end:]) and not RETRACTED.search(small, start)


# Yes and no ----------------------------------------------------------------------------------------------------------

YES = words("yes yeah yep yup true affirmative 是 是的 有 对 對 oui ja sí sim да はい 예 네")
NO = words("no nope nah false 否 不是 没有 沒有 无 無 不 non nein não нет いいえ 아니요")
OPEN_QUESTION = re.compile(
    r"\W*(?:(?:in|on|at|to|from|of|for|with|by)\b\W*)?(?:what|which|who|whom|whose|where|when|how|why)\b"
)
LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence),? )?(?:(?:(?:the|my) )?(?:final |correct )?(?:answer|ans|response|conclusion)"
    r"(?: to (?:the|this) question)?(?: is)?[:=, ]+|\u7b54\u6848(?:\u662f|\u4e3a)?[:=, ]*)"
)
HEAD = re.compile(r"([^\W\d_]+)(?:[ \n]?[,.;:!(\n-]+ ?|$)(.*)", re.DOTALL)
CERTAIN = words(
    "am sure certain confident absolutely definitely clearly certainly indeed course correct right true so think"
    " believe"
)
"""Words around yes and no that only express certainty."""
OPINION = FRAME | CERTAIN
IS_SAID = re.compile(r"\b(?:there|it)\b")
SURELY_NOT = re.compile(r"(?:(?:absolutely|certainly|definitely|clearly|surely) not|not at all)")
SAYS = re.compile(r"(?P<opening>.{1,80}?)[ ,:-]+(?P<said>yes|no)(?: please)?", re.DOTALL)
"""A sentence that ends with yes or no: "my final answer would be yes"."""
SAYS_FIRST = re.compile(r"(?P<said>yes|no)(?P<rest> (?:is|would be) .{1,80})", re.DOTALL)
NOT_YET_SAID = re.compile(
    r"\b(?:there|it|this|that|these|those) (?:is|are|was|were)$|\bplease\b|^(?:say|reply|return)\b|\?"
)
"""Texts that end in "no" without answering: a sentence that is cut ("There is no"), and instructions."""
ECHO = words(
    """
    there it is are was were does do did has have had can be been seen present visible identified noted shown
    detected evidence of any sign signs this that these they the a an i see in on image scan picture
    """
)
DENIES = re.compile(r"\bnot\b|n't\b|\bno (?=\w)|\bwithout\b|\bnone\b|\babsent\b")
SEEN = re.compile(r" (?:(?:is|are) )?(?:seen|present|identified|visible|noted|detected|found|shown)$")
GONE = re.compile(r" (?:is|are) (?:absent|not (?:seen|present|identified|visible|noted|detected))$")
DENIAL = re.compile(
    r"(?:there (?:is|are) )?"
    r"(?:no evidence of|no signs? of|without evidence of|negative for|without|absence of|no)(?: any)? "
)
AFFIRMATION = re.compile(r"(?:there (?:is|are)|evidence of|positive for) (?:some )?")
IS_THERE = re.compile(r"(?:is|are|was|were) there (?:any |an? )?(?:evidence of |signs? of )?(?:any |an? )?")
IS_SEEN = re.compile(r"(?:is|are) (?:any |an? |the )?")
PLACE = re.compile(r" (?:in|on|at|within|seen|visible|present|shown)\b.*", re.DOTALL)


def read_yes_no(text: str, question: str | None = None) -> bool | None:
    """Whether a text answers a question with yes or no.

    Args:
        text: The answer: the word alone, after a lead-in, or with a sentence that repeats it in the question's words
            ("Yes, there is.", "No, it is not enlarged", "There is no evidence of pneumothorax").
        question: The question; None if not known.

    Returns:
        True for yes, False for no, None for anything else, and for every answer to a question that begins with what,
        which, how and the like.
    """
    asked = same_length(unwrap(question or "")).strip(" .?!\uff1f")
    if is_long(text) or OPEN_QUESTION.match(asked):
        return None
    small = same_length(unwrap(text)).strip(" .,;:!\"'()[]")
    lead = LEAD_IN.match(small)
    small = small[lead.end() :].strip(" \"'([") if lead else small
    if small in YES or small in NO:
        return small in YES
    if SURELY_NOT.fullmatch(small):
        return False
    head = HEAD.fullmatch(small)
    if head is not None and (head[1] in YES or head[1] in NO):
        said = head[1] in YES
        return said if echoes(head[2], said, asked) else None
    committed = commits(small)
    return states(small, asked) if committed is None else committed


def commits(small: str) -> bool | None:
    """Whether a sentence says yes or no with words that only say that this is the answer; None for other sentences."""
    found = SAYS.fullmatch(small)
    if found is not None:
        opening = found["opening"]
        said = not NOT_YET_SAID.search(opening) and all(word in OPINION for word in opinion(opening))
        return found["said"] == "yes" if said else None
    found = SAYS_FIRST.fullmatch(small)
    if found is not None and CONFIRMED.match(found["rest"]) and is_frame(found["rest"]):
        return found["said"] == "yes"
    return None


def opinion(text: str) -> list[str]:
    """The words of a sentence, without contracted verbs such as in "I'm"."""
    return WORD.findall(CONTRACTED.sub(" ", text))


def echoes(rest: str, said: bool, asked: str) -> bool:
    """Whether the sentence after yes or no uses only the question's words, with the same polarity."""
    again = YES if said else NO
    known = ECHO | again | set(WORD.findall(asked))
    said_again = opinion(DENIES.sub(" ", rest))
    # "No, there is" and "No, it is" contradict themselves.
    sure = all(word in OPINION or word in again for word in said_again)
    if sure and not DENIES.search(rest) and (said or not IS_SAID.search(rest)):
        return True
    if not said and SURELY_NOT.fullmatch(rest):
        return True
    return all(word in known for word in said_again) and bool(DENIES.search(rest)) is not said


def states(small: str, asked: str) -> bool | None:
    """Whether a sentence states in the question's words that what was asked for is present; None if unclear."""
    there, seen = IS_THERE.match(asked), IS_SEEN.match(asked) if SEEN.search(asked) else None
    if there is None and seen is None:
        return None
    wanted = asked[there.end() :] if there else SEEN.sub("", asked[seen.end() if seen else 0 :])
    if small in ("absent", "none", "none seen", "not seen", "not present", "not visible"):
        return False
    if small == "present":
        return True
    thing = SEEN.sub("", GONE.sub("", small))
    denial, affirmation = DENIAL.match(thing), AFFIRMATION.match(thing)
    is_gone = GONE.search(small) is not None
    opening = denial or affirmation
    # Exactly one denial or affirmation; "there is no X" begins with both.
    if (is_gone and opening) or not (is_gone or opening):
        return None
    thing = ARTICLE.sub("", thing[opening.end() :] if opening else thing, count=1)
    if not thing or thing not in (wanted, PLACE.sub("", wanted, count=1)):
        return None
    return not is_gone and denial is None
