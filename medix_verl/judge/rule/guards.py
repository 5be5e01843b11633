# SPDX-License-Identifier: Apache-2.0
"""Answers that are plainly none, and that language models are known to pass: a NO without asking anybody.

A guard names one of five: nothing but punctuation; a "master key", an opener without an answer ("Thought process:",
see arXiv 2507.08794); the question repeated; several alternatives; a line that pretends to be the reference. It looks
only at what does not equal the reference, and leaves to the judge whatever could be an answer: a sentence with
content, a "+" or an arrow, an option that is ruled out, a text that the reference itself has.
"""

from __future__ import annotations

import re

from medix_verl.judge.rule.equality import Known, known, right_texts
from medix_verl.judge.rule.normalise import plain
from medix_verl.types import Reference

__all__ = ["guard"]

MAX_CHARS = 4000
"""Only the beginning of a longer answer is looked at; no list of options and no opener is that long."""
MAX_OPENER = 300
CORE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)
"""From the first letter or digit to the last, found in one pass; a pattern of the ends would try each run of marks."""
MEANINGFUL_MARKS = re.compile(r"[+\u00b1\u2191\u2193\u2640\u2642]{1,4}")
"""Answers without a letter that mean something: +, ++, plus-minus, up, down, female, male."""
SEGMENTS = re.compile(r"[.:;,!?\n\u2026\u3002\uff0c\uff1a\uff01\u0964\u060c-]+")
OPENER = re.compile(
    r"(?:(?:my |the |a |here is (?:my |the )?)?(?:step by step |detailed |final |correct )?"
    r"(?:thought process|thoughts?|thinking(?: process)?|reasoning|solution|answer|explanation|analysis|response"
    r"|conclusion|output|result|step 1|step one|first step)(?: is| is as follows| follows| below)?"
    r"|(?:ok(?:ay)? |alright |so |now |first )?(?:let'?s|let us|let me|we (?:need|have) to|i (?:need|will)(?: to)?)"
    r" (?:solve|think|work|analy[sz]e|reason|break|look|go|start|begin|answer|consider|examine)"
    r"(?: (?:about|through|at|down|on|with|over))?(?: (?:this|it|the|that))?"
    r"(?: (?:problem|question|image|case|picture|scan|task|solution|analysis))?(?: (?:down|through))?"
    r"(?: (?:step by step|carefully|together|first|systematically))*"
    r"|thinking (?:it|this) through(?: carefully)?|ok(?:ay)?|alright|sure|certainly|of course|step by step|as follows"
    r"|to (?:solve|answer) (?:this|the) (?:problem|question)|hmm+|wait|so|the following)"
)
OPENERS_ABROAD = (
    "解 | 解答 | 解答如下 | 解析 | 答案 | 答案如下 | 思考过程 | 思考過程 | 思路 | "
    "让我们一步一步地解决这个问题 | 让我们一步步思考 | 最终答案 | "
    "かいせつ | 解説 | 回答 | 答え | 考え方 | 해설 | 풀이 | 답 | 정답 | الحل | الجواب | समाधान | उत्तर | "
    "решение | ответ | размышление | respuesta | solución | proceso de pensamiento | "
    "razonamiento | resolvamos este problema paso a paso | lösung | antwort | gedankengang | "
    "lass uns dieses problem schritt für schritt lösen | réponse | raisonnement | "
    "processus de réflexion | résolvons ce problème étape par étape | resposta | solução | "
    "vamos resolver este problema passo a passo | soluzione | risposta | ragionamento | "
    "рассмотрим задачу по шагам | решим эту задачу шаг за шагом | ход рассуждений"
)
"""Chinese, Japanese, Korean, Arabic, Hindi, Russian, Spanish, German, French, Portuguese, Italian."""
FAKE_LINE = re.compile(
    r"^[\W_]*(?:(?:the )?(?:reference|gold(?: standard)?|ground[ -]?truth|expected|standard|model) answer"
    r"|ground[ -]?truth|gold(?: standard)? label|reference|judg(?:e|e?ment)(?:'s)?(?: verdict)?|verdict"
    r"|参考答案|标准答案)"
    r"[\W_]{0,4}(?: is)? ?[:=]",
)
NEGATION = re.compile(
    r"\b(?:no|not|nor|neither|never|without|rather|unlike|exclud\w*|rul\w+ out|instead|than|except|but|isn't|aren't)\b"
)
JOINING = re.compile(
    r"[\W_]+|\b(?:and|or|either|both|all|any|one|of|the|these|options?|answers?|choices?|is|are|it|could|be|may|might"
    r"|can|correct|possible|above|possibly|maybe|perhaps)\b"
)
COLLECTIVE = re.compile(r"\b(?:all|both|none|neither|above|and|or|any|following)\b|[/,&+]")
YES_NO = re.compile(r"(?:(?:either|both|maybe) )?(?:yes|no)(?:[\W_]+(?:(?:and|or|and/or|also)[\W_]+)?(?:yes|no))+")
OR = re.compile(r"\bor\b")
WORD_END = re.compile(r"\b")
SEPARATOR = re.compile(r" ?(?:[,;/|]|\b(?:and/or|or|either)\b) ?")
ENOUGH = {"or": 3, "slash": 4, "list": 6}
"""How many guesses make a row: "a, b or c" leaves no doubt, a list of commas may be one finding with its details."""
MIN_QUESTION_WORDS = 3


def guard(candidate: str, reference: Reference) -> str | None:
    """Name what makes a candidate plainly no answer; it must have been compared with the reference before.

    Args:
        candidate: An answer that does not equal the reference.
        reference: The right answer, the question and its options.

    Returns:
        The reason for a NO, or None where a judge has to decide.
    """
    text = plain(candidate[:MAX_CHARS])
    if not any(char.isalnum() for char in text):
        return None if MEANINGFUL_MARKS.fullmatch(text) else "nothing but punctuation"
    core = bare(text)
    right = [plain(text) for text in right_texts(reference)]
    # What the reference says itself is no trick: "Solution" may be the answer to a question on mixtures.
    if any(core in known for known in right):
        return None
    if is_opener(text):
        return "an opener without an answer"
    if repeats(core, reference.question):
        return "the question repeated"
    if lists_alternatives(text, reference, right):
        return "several alternatives"
    if has_fake_line(candidate[:MAX_CHARS], right):
        return "a line that pretends to be the reference"
    return None


def bare(text: str) -> str:
    """A text without the punctuation at both ends."""
    found = CORE.search(text)
    return "" if found is None else found[0]


def is_opener(text: str) -> bool:
    """Whether every part of a text announces an answer and none gives one."""
    if len(text) > MAX_OPENER:
        return False
    parts = [bare(part) for part in SEGMENTS.split(text)]
    return all(part in ABROAD or OPENER.fullmatch(part) for part in parts if part)


def repeats(core: str, question: str | None) -> bool:
    """Whether a text is the question, once or several times, perhaps announced as such."""
    asked = bare(plain(question or ""))
    if len(asked.split()) < MIN_QUESTION_WORDS or asked not in core:
        return False
    left = bare(core.replace(asked, " "))
    return not left or bool(re.fullmatch(r"(?:the )?question(?: is| asks| was)?", left))


def lists_alternatives(text: str, reference: Reference, right: list[str]) -> bool:
    """Whether a text names several options and says nothing else, or both yes and no, or a row of guesses."""
    core = bare(text)
    if YES_NO.fullmatch(core) and {"yes", "no"} <= set(re.findall(r"\b(?:yes|no)\b", core)):
        return True
    if any(COLLECTIVE.search(known) for known in right):
        return False
    texts = known(reference)
    return lists_options(core, texts) or (not NEGATION.search(core) and is_row_of_guesses(core, texts))


def lists_options(core: str, texts: Known) -> bool:
    """Whether a text is made of two or more options, by text or letter, and of joining words."""
    if texts.option is None:
        return False
    named = set()
    # With a mark at both ends of each word, a plain search finds whole words only. It takes linear time; a pattern of
    # an option would be tried at each word.
    rest = WORD_END.sub("\0", core)
    for place in sorted(range(len(texts.options)), key=lambda place: -len(texts.options[place])):
        option = WORD_END.sub("\0", bare(plain(texts.options[place])))
        if option and option in rest:
            named.add(place)
            # With its article, which would be taken for the letter of the first option: "a pneumothorax".
            for article in ("\0an\0 ", "\0a\0 ", ""):
                rest = rest.replace(article + option, " ")
    for word in set(JOINING.sub(" ", rest).split()):
        letter = texts.option_named(word)
        if letter is None:
            return False
        named.add(letter)
    return len(named) > 1


def is_row_of_guesses(core: str, texts: Known) -> bool:
    """Whether a text offers many things side by side, of which one is right."""
    parts = [part for part in SEPARATOR.split(core) if part]
    enough = ENOUGH["or" if OR.search(core) else "slash" if "," not in core and ";" not in core else "list"]
    return len(parts) >= enough and any(texts.has(part) for part in parts)


def has_fake_line(candidate: str, right: list[str]) -> bool:
    """Whether a line begins as the judge's prompt does, with a reference or a verdict; unless the reference does."""
    lines = (plain(line) for line in candidate.splitlines())
    found = any(FAKE_LINE.match(line) for line in lines)
    return found and not any(FAKE_LINE.match(known) for known in right)


ABROAD = frozenset(bare(plain(text)) for text in OPENERS_ABROAD.split("|"))
