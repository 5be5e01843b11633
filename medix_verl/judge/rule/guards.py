# SPDX-License-Identifier: Apache-2.0
"""Detects texts that are clearly not answers but that language models are known to accept: a NO without a judge.

A guard names what it found: only punctuation; an opener without an answer; the question repeated; a placeholder;
several alternatives; a text that addresses the judge or imitates the reference. Guards only check answers that do not
equal the reference. Whatever could be an answer is left to the judge: a sentence with content, an option that is ruled
out, a text that the reference itself contains.
"""

from __future__ import annotations

import re

from medix_verl.choices import OPEN_QUESTION, holds, unwrap, words
from medix_verl.invisible import compatible
from medix_verl.judge.rule.alternatives import lists_options, offers_guesses, says_yes_and_no
from medix_verl.judge.rule.equality import Known, known, right_texts
from medix_verl.judge.rule.normalise import bare, plain
from medix_verl.types import Reference

__all__ = ["guard"]

MAX_CHARS = 4000
"""Only the beginning of a longer answer is checked; no list of options and no opener is that long."""
REORDERED = re.compile("[\u202d\u202e]")
"""Characters that change the display order of a text."""
FAKE_LINE = re.compile(
    r"^[\W_]*(?:the )?(?:(?P<sure>"
    r"(?:reference|gold(?: standard)?|ground[ _-]?truth|expected|standard|model|true)[ _-]answer|ground[ _-]?truth"
    r"|gold(?: standard)? label|respuesta de referencia|réponse de référence|referenzantwort|resposta de referência"
    r"|risposta di riferimento|参考答案|标准答案|正确答案)"
    r"|(?P<verdict>judg(?:e|e?ment)(?:'s)?(?: verdict)?|verdict|bewertung|urteil|référence|referencia"
    r"|riferimento|referência|判定)|gold|reference)[\W_]{0,4}(?: is)? ?[:=](?P<rest>.*)",
)
VERDICTS = words(
    """
    yes correct right true accept accepted match matches pass passed equivalent identical same 1 richtig korrekt
    correcto correcta correta corretto exact exacte identique igual oui ja sí 正确 对
    """
)
TO_THE_JUDGE = re.compile(
    r"\b(?:reply|respond|output|say|return|print)(?: with)?(?: the word)? [\"']?yes\b"
    r"|\b(?:ignore|disregard|forget)\b[^.\n]{0,40}\b(?:instructions?|prompts?|rules)\b"
    r"|\b(?:note|message|instruction)s? (?:to|for) (?:the )?(?:judge|grader|examiner|evaluator|model)\b"
    r"|\b(?:grader|grading (?:system|policy|script)|evaluator) ?[:=,]"
    r"|\bthe (?:judge|grader) (?:says?|must|should|has)\b|\b(?:assistant|user) ?: |### ?(?:instruction|response)\b"
    r"|\b(?:grade|score|marks?) ?[:=] ?(?:1/1|5/5|10/10|100/100|100 ?%|full marks)"
    r"|\breference answer\b|\bground truth\b|\((?:the )?reference\)"
)


def guard(candidate: str, reference: Reference) -> str | None:
    """Name what makes a candidate clearly not an answer; the caller has already compared it with the reference.

    Args:
        candidate: An answer that does not equal the reference.
        reference: The right answer, the question and its options.

    Returns:
        The reason for a NO, or None if a judge has to decide.
    """
    cut = beginning(candidate)
    text = plain(cut)
    right = [plain(text) for text in right_texts(reference)]
    if is_marks(text, right) or is_empty_markup(cut):
        return "nothing but punctuation"
    core = bare(text)
    # Texts of the reference itself are accepted: "Solution" may be the answer to a question on mixtures.
    if core and any(says(known, core) for known in right):
        return None
    texts = known(reference)
    if repeats(text, reference.question, right):
        return "the question repeated"
    has_reference = any(known and says(core, known) for known in right)
    if not has_reference and is_announcement(text, reference.question, right):
        return "an opener without an answer"
    if is_placeholder(text, right):
        return "a placeholder"
    lines = [plain(line) for line in cut.splitlines()]
    if says_yes_and_no(text, texts) or lists_options(cut, texts) or offers_guesses("\n".join(lines), texts):
        return "several alternatives"
    given = " ".join((plain(reference.question or ""), *right))
    if REORDERED.search(cut) or speaks_to_the_judge(lines, text, given, texts):
        return "a line that pretends to be the reference, or speaks to the judge"
    if (not has_reference and praises(text, texts.yes is not None)) or is_bare_yes(text, reference.question, right):
        return "a verdict on itself"
    return None


def beginning(candidate: str) -> str:
    """What is read of a text: its first MAX_CHARS characters, and fewer if some of them stand for many letters."""
    cut = candidate[:MAX_CHARS]
    letters = len(compatible(cut))
    return cut if letters <= MAX_CHARS else cut[: MAX_CHARS * MAX_CHARS // letters]


def is_empty_markup(candidate: str) -> bool:
    """Whether a text is an empty box, tag or fence."""
    return any(char in "\\<`{" for char in candidate[:20]) and not any(char.isalnum() for char in unwrap(candidate))


def says(text: str, part: str) -> bool:
    """Whether a text contains a part, as whole words if the part is ASCII."""
    return holds(text, part) if part.isascii() else part in text


def speaks_to_the_judge(lines: list[str], text: str, given: str, texts: Known) -> bool:
    """Whether a text states the verdict or the reference, unless the question or the reference mention it.

    Args:
        lines: The answer's lines, as returned by `plain`.
        text: The whole answer, as returned by `plain`.
        given: Question and right texts, as returned by `plain`.
        texts: The reference.
    """
    if any(is_fake(line, given, texts) for line in lines):
        return True
    found = TO_THE_JUDGE.search(text)
    return found is not None and found[0] not in given and not FAKE_LINE.match(text)


def is_fake(line: str, given: str, texts: Known) -> bool:
    """Whether a line begins like the judge's prompt, with a reference or a verdict that is not the right one."""
    found = FAKE_LINE.match(line)
    if found is None or FAKE_LINE.match(given):
        return False
    rest = bare(found["rest"])
    if WORD.findall(line)[0] in given.split():  # "Which level is the reference?"
        return False
    if not rest or texts.has(rest) or texts.chooses(rest):
        return False
    if found["verdict"]:  # "Judgment: impaired" and "Verdict: benign" are answers
        return rest in VERDICTS
    return bool(found["sure"]) or {word for word in rest.split() if len(word) > 3}.isdisjoint(given.split())


# Texts that hold no answer --------------------------------------------------------------------------------------------

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
SEGMENTS = re.compile(r"[.:;,!?\n\u2026\u3002\uff0c\uff1a\uff01\u0964\u060c-]+")
MAX_ANNOUNCEMENT = 300
SHORT = 3
"""Number of words of a reference that a single mark can express: negative, no change, greater than."""

MARKS = re.compile(r"[+\u00b1\u2190-\u21ff\u2640\u2642\u2b05-\u2b07\u2795\u2796]{1,4}\ufe0f?|\+/-")
"""Marks with a meaning for any question: +, ++, plus-minus, arrows, female, male."""
SHORT_MARKS = frozenset(
    "\u25a1\u25cb\u25b3-\u2212\u00d7\u2205?><\u2265\u2264=~\u2248\u221e\u2713\u2714\u2705\u2611\u2717\u2718\u274c\u2612\U0001f44d\U0001f44e"
)
"""Marks that can express a short reference: negative, yes, no, none, unknown, more than."""


def is_marks(text: str, right: list[str]) -> bool:
    """Whether a text has neither letter nor digit, and is not a mark that could be the answer."""
    if any(char.isalnum() for char in text):
        return False
    inner = text.strip(" ()[]\"'.")
    if MARKS.fullmatch(inner):
        return False
    return not (inner in SHORT_MARKS and any(len(known.split()) <= SHORT for known in right))


# Announcements -------------------------------------------------------------------------------------------------------

FUNCTION = words(
    """
    the a an my our your here there is are was be being it its it's this that these those i i'm i'll we we'll
    you me us to of in on at by for from with about as and so now then well please would will should can could
    have has need must do does believe therefore thus hence
    """
)
OPEN_ENDS = words("is are be shows show that the a an of has")
"""Words with which no answer ends."""
ANNOUNCING = words(
    """
    review reviewing answer answers final thinking think reasoning solution solve solving explanation explain
    analysis analyse
    analyze analysing analyzing response conclusion conclude concluding summary summarise summarize summing
    overall follows question problem task provided based according looking see shows show shown
    consider considering examine examining let let's lets hmm hm um
    """
)
BESIDE = words(
    """
    after upon following below thought thoughts process reason output result results sum step steps first follow
    case image images picture
    pictures scan information findings finding data given look carefully careful systematically together through
    down break start starting begin beginning go going work working detailed detail diagnosis correct best
    likely most
    """
)
"""Words without content next to an announcing word; on their own they may be an answer."""
PLAIN_WORDS = words("answer answers final conclusion question let let's lets solve solving step problem")
"""Words that announce an answer to any question; "review" and "consider" may be the answer to what to do."""
ABROAD_FUNCTION = words(
    """
    la le les l ma mon est voici d après de du des en sur selon finale correcte donc meine mein die der das dem ist
    lautet hier auf grundlage basierend laut richtige endgültige also mi es según aquí está correcta final por tanto
    basado ecco mia è corretta base in all a o minha com na no é correta aqui portanto
    """
)
ABROAD_ANNOUNCING = words(
    """
    réponse image question antwort bild bildes bildern frage respuesta imagen pregunta risposta immagine domanda
    resposta imagem pergunta
    """
)
"""French, German, Spanish, Italian, Portuguese: words that announce an answer."""
CJK_EMPTY = re.compile(
    "[我们让仔细看一下这张張幅个图片像画根据基于答案是为如的来分析首先最终正确综所述因此问题解请可以説"
    "\u3041-\u309f\u30fc\u3002\u3001,.: ]{3,}"
)
CJK_ANNOUNCING = re.compile("答案|答え|图|画像|分析|问题")
"""Chinese and Japanese: the characters of an announcement, and the words that make it one."""
PHRASES = words("thought-process first-step step-by-step step-1 step-one the-diagnosis-is the-findings-are here-goes")
INTERJECTIONS = words("wait sure certainly ok okay alright absolutely definitely indeed of-course")
ALONE = words("the this that these those and hmm therefore thus hence overall")
SOLO = words(
    """
    thinking thought thoughts reasoning solution response output analysis answer answers conclusion result
    results explanation step 1 one
    """
)
"""Announcing words that may be an answer: a solution of salt, the response of a pupil, thinking as a function."""
FINDING_ASKED = re.compile(
    r"\b(?:shows?|shown|see|seen|visible|abnormalit\w*|diagnos\w*|findings?|diseases?|patholog\w*|condition|lesions?"
    r"|tumou?rs?|organs?|modality|plane|side|where|located|location|how many|how large|fundus|radiographs?|mri|ct"
    r"|x-?ray|biopsy|images?|name of|artery|vein|bone|antidote)\b"
)
"""Questions that no announcing word can answer."""
OPENERS_ABROAD = (
    "解 | 解答 | 解答如下 | 解析 | 答案 | 答案如下 | 答案是 | 答案为 | 最终答案是 | 思考过程 | 思考過程 | 思路 | "
    "结论 | 结论是 | 让我们一步一步地解决这个问题 | 让我们一步步思考 | 最终答案 | 根据图像 | 综上所述 | 因此 | "
    "かいせつ | 解説 | 回答 | 答え | 答えは | 考え方 | 해설 | 풀이 | 답 | 정답 | 정답은 | الحل | الجواب | "
    "الإجابة | समाधान | उत्तर | решение | ответ | размышление | respuesta | la respuesta es | respuesta final | "
    "solución | proceso de pensamiento | razonamiento | resolvamos este problema paso a paso | lösung | "
    "antwort | die antwort ist | die antwort lautet | gedankengang | "
    "lass uns dieses problem schritt für schritt lösen | réponse | la réponse est | raisonnement | "
    "processus de réflexion | résolvons ce problème étape par étape | resposta | a resposta é | solução | "
    "vamos resolver este problema passo a passo | soluzione | risposta | la risposta è | ragionamento | "
    "рассмотрим задачу по шагам | решим эту задачу шаг за шагом | ход рассуждений"
)
"""Chinese, Japanese, Korean, Arabic, Hindi, Russian, Spanish, German, French, Portuguese, Italian."""
ABROAD = frozenset(bare(plain(text)) for text in OPENERS_ABROAD.split("|"))


def is_announcement(text: str, question: str | None, right: list[str]) -> bool:
    """Whether every part of a text announces an answer and none gives one.

    Args:
        text: The answer, as returned by `plain`.
        question: The question.
        right: The right texts, as returned by `plain`.
    """
    if len(text) > MAX_ANNOUNCEMENT:
        return False
    asked = plain(question or "")
    parts = [part for part in map(bare, SEGMENTS.split(text)) if part]
    if not parts:
        return False
    if is_empty_abroad(text):
        return True
    if all(joined(part) in INTERJECTIONS for part in parts):
        return FINDING_ASKED.search(asked) is not None and all(len(known.split()) >= SHORT for known in right)
    said = [word for part in parts for word in WORD.findall(part)]
    asks_finding = FINDING_ASKED.search(asked) is not None
    announced = any(word in (ANNOUNCING if asks_finding else PLAIN_WORDS) for word in said)
    announced = announced or any(is_phrase(part) for part in parts)
    ends_open = text.rstrip(" *_`\"'").endswith((":", ","))
    # "The radiograph shows": words of the question that introduce an answer, without the answer.
    leads = said[-1] in OPEN_ENDS or (ends_open and announced)
    # "Let me look at this wrist film": words of the question with only an announcement or an open end.
    known: frozenset[str] = frozenset()
    if leads or (announced and asks_finding and OPEN_QUESTION.match(asked) and " or " not in asked):
        known = frozenset(WORD.findall(asked)) - frozenset(
            word for known_text in right for word in WORD.findall(known_text)
        )
    if not all(announces(part, known) for part in parts):
        return False
    if ends_open:
        return True
    telling = {word for word in said if word not in FUNCTION and word not in INTERJECTIONS}
    if (telling and telling <= SOLO) or (len(parts) == 1 and parts[0] in ABROAD):
        return asks_finding
    if len(said) == 1:
        return said[0] in ALONE
    # "It is there." affirms a question with its own words.
    return announced or (bool(OPEN_QUESTION.match(asked)) and (leads or not telling))


def is_empty_abroad(text: str) -> bool:
    """Whether a text in another language consists of an announcement."""
    if CJK_EMPTY.fullmatch(text):
        return bool(CJK_ANNOUNCING.search(text))
    said = WORD.findall(text.replace("'", " "))
    is_known = all(word in ABROAD_FUNCTION or word in ABROAD_ANNOUNCING for word in said)
    return is_known and len(said) > 1 and not ABROAD_ANNOUNCING.isdisjoint(said)


def joined(part: str) -> str:
    """The words of a part joined with hyphens."""
    return "-".join(part.split())


def is_phrase(part: str) -> bool:
    """Whether a part of a text is one of the known announcing phrases."""
    return part in ABROAD or joined(part).removeprefix("the-").removeprefix("my-") in PHRASES or joined(part) in PHRASES


def announces(part: str, known: frozenset[str] = frozenset()) -> bool:
    """Whether a part of a text is an announcement; `known` are further words that have no content here."""
    if is_phrase(part) or joined(part) in INTERJECTIONS:
        return True
    said = WORD.findall(part.replace("step 1", "step"))
    return all(word in FUNCTION or word in ANNOUNCING or word in BESIDE or word in known for word in said)


# Placeholders, praise, yes -------------------------------------------------------------------------------------------

PLACEHOLDER = re.compile(
    r"n\.?/\.?a\.?|null|nan|undefined|tbd|tba|todo|placeholder|no answer|none given|your answer|lorem ipsum"
    r"|\[?insert (?:your |the )?answer\]?|(?:insert |your |the )?answer(?: goes)? here"
    r"|\[?(?:answer|text|content)\]|i (?:don't|do not) know"
    r"|i(?: am|'m) not sure|as an ai(?: language)? model"
)
NUMERAL = re.compile(r"[0-9]|\b(?:one|two|three|four|five|first|second|third|fourth|fifth|single|[ivx]{1,4})\b")
NUMBERED = re.compile(r"[(#-]? ?[0-9a-z]{1,2} ?[.)]")
ABSENCE = re.compile(
    r"\b(?:no|not|none|nil|null|n/?a|nothing|absent|absence|negative|without|normal|un\w+|missing)\b|\u65e0|\u6ca1|\u5426"
)
JUDGING = words(
    """
    candidate reference same equals equal identical matches match matching correct accepted accept accurate
    valid medical content gives judge judges grader says said reply verdict yes exactly entirely completely
    fully true score marks perfect right answered expected mine expert radiologist physician doctor examiner confirm
    confirmed verify verified system
    """
)
TALKS_OF_JUDGING = words("candidate reference judge judges grader verdict reply expected")
MAY_ANSWER = words("right yes true medical content same equal identical matches")
"""Judging words that may be an answer themselves."""
LOOK_ALIKE = str.maketrans("\u0435\u0455\u0443\u04af\u0435\u03bf\u03c5", "esyyeoy")
"""Cyrillic and Greek letters that look like those of "yes"."""


def is_placeholder(text: str, right: list[str]) -> bool:
    """Whether a text is a placeholder for an answer: N/A, null, "1."; unless the reference expresses absence."""
    core = text.strip(" .\"'()<>*`")
    if PLACEHOLDER.fullmatch(core) or PLACEHOLDER.fullmatch(text.strip()):
        return not any(ABSENCE.search(known) for known in right)
    if not NUMBERED.fullmatch(text):
        return False
    return all(len(known.split()) >= SHORT and not NUMERAL.search(known) for known in right)


def praises(text: str, is_yes_no: bool) -> bool:
    """Whether a text only states that it is right."""
    words = [word for word in WORD.findall(text) if not word.isdigit()]
    if not words or not all(
        word in JUDGING or word in FUNCTION or word in ANNOUNCING or word in BESIDE for word in words
    ):
        return False
    judging = {word for word in words if word in JUDGING or word == "correct"}
    if TALKS_OF_JUDGING.intersection(words):
        return len(words) > 1
    return bool(judging - MAY_ANSWER) and not is_yes_no


def is_bare_yes(text: str, question: str | None, right: list[str]) -> bool:
    """Whether a text is only YES, possibly in look-alike letters, and yes cannot be the answer."""
    asked = plain(question or "")
    is_open = bool(OPEN_QUESTION.match(asked)) and all(len(known.split()) >= SHORT - 1 for known in right)
    return is_open and bare(text).translate(LOOK_ALIKE) == "yes"


# The question --------------------------------------------------------------------------------------------------------

MIN_QUESTION_WORDS = 3
MIN_ECHO, ECHO_SHARE = 3, 0.75
"""Minimum number of the question's words in an echo, and their minimum share."""
ASKING = re.compile(r"(?:you|the question|it) (?:ask|asks|asked)(?: me| us)?(?: for| about)? ")
ASKS = re.compile(r"\b(?:the question(?: is| asks| was)?|question|q)\b")
STOP = words("what which who whom whose where when how why do does did")
ENDINGS = re.compile(r"(?:ing|ed|en|n|es|s|e)$")


def repeats(text: str, question: str | None, right: list[str]) -> bool:
    """Whether a text repeats the question: word for word, announced, or as a statement without an answer."""
    asked = bare(plain(question or ""))
    if len(asked.split()) < MIN_QUESTION_WORDS:
        return False
    core = bare(text)
    if asked in core:
        left = ASKS.sub(" ", core.replace(asked, " "))
        if all(announces(part) for part in map(bare, SEGMENTS.split(left)) if part):
            return True
    asking = ASKING.match(core)
    if asking is not None and stems(core[asking.end() :]) <= stems(asked):
        return True
    # "Is there a fracture?" is answered by "There is a fracture", and "left or right?" by a word of it.
    if not OPEN_QUESTION.match(asked) or " or " in asked:
        return False
    said, known = stems(core), stems(asked)
    if len(said) < MIN_ECHO or len(said) < ECHO_SHARE * len(known) or not said <= known:
        return False
    return not any(stems(answer) <= known for answer in right)


def stems(text: str) -> frozenset[str]:
    """The content words of a text, without their endings."""
    return frozenset(ENDINGS.sub("", word) for word in WORD.findall(text) if word not in FUNCTION and word not in STOP)
