# SPDX-License-Identifier: Apache-2.0
"""Detects texts that offer several answers, of which one may be right: listed options, yes and no, a list of guesses.

Several names of one thing ("axial, transverse or horizontal") are not a list of guesses. Therefore guesses are
recognised by a table of mutually exclusive things; anything that is not in the table is left to a judge.
"""

from __future__ import annotations

import re
from itertools import pairwise

from medix_verl.choices import BETWEEN, FRAME, NEGATES, Mention, mentions, unwrap, without, words
from medix_verl.judge.rule.equality import Known
from medix_verl.judge.rule.normalise import bare, normalise, variant
from medix_verl.judge.rule.quantity import read_quantity, same_quantity

__all__ = ["lists_options", "offers_guesses", "says_yes_and_no"]

WORD = re.compile(r"[^\W_]+")
COLLECTIVE = re.compile(r"\b(?:all|both|none|neither|above|and|or|any|following|bilateral|combined|dual)\b|[/,&+]")
JOINING = words(
    """
    and or either both all any every each one of the these those options option answers answer choices choice is
    are it could be may might can also but possible above possibly maybe perhaps correct vs versus them not two
    three four five
    """
)
ALL_OF_THEM = re.compile(r"\b(?:any|all|every|each|either|one)\b")
THE_OPTIONS = re.compile(r"\b(?:options?|answers?|choices?|above|them)\b")
JOINED = re.compile(r"[,;/|&+\n.]|\b(?:and|or|vs|versus)\b")
RUN_OF_LABELS = re.compile(r"[A-Z]{3,10}")
LIST_MARK = re.compile(r"(?<!\S)\(?\d{1,2}[.)](?=\s)")


def lists_options(candidate: str, texts: Known) -> bool:
    """Whether a text names the right option and other options, and nothing else."""
    if texts.option is None or any(COLLECTIVE.search(form) for form in texts.choices.forms):
        return False
    text = LIST_MARK.sub(" , ", unwrap(candidate))
    small, found = mentions(text, texts.choices)
    if is_run_of_labels(text, texts) or names_all_at_once(small, found):
        return True
    named = {mention.index for mention in found if not mention.negated}
    if texts.option not in named or has_mismatch(small, found):
        return False
    forms = texts.choices.forms
    right = forms[texts.option]
    # "CT angiography (CT)" names one thing twice, and "T2 FLAIR" is a sequence.
    others = {index for index in named if forms[index] not in right and right not in forms[index]}
    rest = set(WORD.findall(NEGATES.sub(" ", without(small, found))))
    if not others or not all(word in JOINING or word in FRAME for word in rest):
        return False
    places = [mention for mention in found if not mention.negated]
    apart = all(JOINED.search(small[left.end : right.start]) for left, right in pairwise(places))
    if not apart and any(excludes(things(right), things(forms[index])) for index in others):
        apart = True
    return len(others) >= (1 if apart and "but" not in rest else 2)


def is_run_of_labels(text: str, texts: Known) -> bool:
    """Whether a text is the labels of all options in a row: ABCD."""
    letters = "".join(text.split())
    return bool(RUN_OF_LABELS.fullmatch(letters)) and letters == "ABCDEFGHIJ"[: len(texts.choices.forms)]


def names_all_at_once(small: str, found: list[Mention]) -> bool:
    """Whether a text says "any of the options"."""
    words = set(WORD.findall(small))
    if found or not words or not all(word in JOINING or word in FRAME for word in words):
        return False
    return bool(ALL_OF_THEM.search(small)) and bool(THE_OPTIONS.search(small))


def has_mismatch(small: str, found: list[Mention]) -> bool:
    """Whether a label precedes another option's text: "B: pneumonia" is a single, ambiguous answer."""
    for left, right in pairwise(found):
        one_each = left.by_label != left.by_text and right.by_label != right.by_text and left.by_label != right.by_label
        between = small[left.end : right.start]
        if one_each and left.index != right.index and "," not in between and BETWEEN.fullmatch(between):
            return True
    return False


# Yes and no ----------------------------------------------------------------------------------------------------------

BOTH_WORDS = re.compile(
    r"\b(?:yes|no|y|n|true|false|ja|nein|oui|non|sí|sim|não|да|нет)\b|\u4e0d\u662f|\u6ca1\u6709|\u662f|\u5426|\u6709"
)
POLARITY = {**dict.fromkeys(("yes", "y", "true", "ja", "oui", "sí", "sim", "да"), True), "\u662f": True, "\u6709": True}
BESIDE = JOINING | words(
    """
    a an so i say would says my final well depends on second thought thoughts und oder et ou y e o и или 或
    """
)


EITHER = frozenset({"either", "both", "either one", "any", "both are possible", "either is possible"})


def says_yes_and_no(text: str, texts: Known) -> bool:
    """Whether a text consists of yes, no and joining words; or is "either" if the answer is yes or no.

    Args:
            text: The answer, as returned by `plain`.
        texts: The reference.
    """
    core = bare(text)
    if texts.yes is not None and core in EITHER:
        return True
    found = BOTH_WORDS.findall(core)
    # "y" and "n" are short for yes and no only together; alone "y" is Spanish for "and".
    letters = {"y", "n"} <= set(found)
    said = {POLARITY.get(word, False) for word in found if letters or word not in ("y", "n")}
    if len(said) < 2 or ("n" in found and not letters):
        return False
    rest = WORD.findall(BOTH_WORDS.sub(" ", core))
    return all(word in BESIDE for word in rest)


# Guesses -------------------------------------------------------------------------------------------------------------

KINDS = {
    "plane": "axial, transverse, horizontal, transaxial | coronal, frontal | sagittal",
    "finding": """normal | pneumonia | tuberculosis, tb | edema | fibrosis | atelectasis | effusion | fracture
        | pneumothorax | glioma, glioblastoma | meningioma | metastasis, metastases | lymphoma
        | hemorrhage, bleeding, hematoma | infarct, infarction, ischemia | abscess | hernia | dislocation
        | embolism, thrombosis | aneurysm | stenosis | cirrhosis | hepatitis | pancreatitis | appendicitis
        | cholecystitis | colitis | osteoarthritis | melanoma | nevus | keratosis | sarcoidosis
        | asthma, emphysema, bronchitis | cardiomegaly""",
    "organ": """liver | spleen | kidney | stomach | pancreas | bowel, intestine, colon | heart | lung | brain | bladder
        | thyroid | prostate | uterus | ovary | gallbladder | adrenal | retina | spine""",
    "bone": """radius, radial | ulna, ulnar | scaphoid | lunate | hamate | triquetral, triquetrum | pisiform
        | metacarpal | humerus, humeral | femur, femoral | tibia, tibial | fibula, fibular | clavicle | rib | patella
        | calcaneus | talus | sternum | scapula | mandible | maxilla | sacrum""",
    "modality": """ct | mri | ultrasound, sonography, ultrasonography | microscopy, histology | fundus
        | scintigraphy, spect | mammography | endoscopy""",
}
"""Kind -> groups of names: each group is one thing, and no thing is a case of another (as lymphoma is of cancer)."""
SINGLE = frozenset({"plane"})
"""Kinds of which a picture or structure has exactly one."""
PLACES = ({"left": 0, "right": 1}, {"upper": 0, "superior": 0, "lower": 1, "inferior": 1, "middle": 2})
"""Words that distinguish two places if all else is the same: "right or left lower lobe pneumonia"."""
OF_PLACE = frozenset(word for table in PLACES for word in table)
NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)(.*)", re.DOTALL)
GROUPS = {
    kind: {variant(name.strip()): place for place, group in enumerate(table.split("|")) for name in group.split(",")}
    for kind, table in KINDS.items()
}
OR = re.compile(r"\bor\b")
ALTERNATING = re.compile(r" ?(?:[/|\n?]|\b(?:and/or|or|either|versus)\b|\bvs\b\.?|(?<!\S)\(?\d{1,2}[.)](?=\s)) ?")
LISTED = re.compile(r" ?[,;&] ?")
BULLET = re.compile(r"^ *[-*\u2022] +", re.MULTILINE)
LEADING = re.compile(
    r"(?:(?:it|this|that|could|may|might|can|would|be|is|are|either|possibly|probably|likely|perhaps|maybe|differential"
    r"|diagnosis|includes?|including|else|an?|the)\b[ :]*)*"
)
HEDGED_SIDE = re.compile(r"\b(left|right)(?: ?/ ?| or (?:the )?| and/or | vs\.? )(left|right)\b")
DENIED = re.compile(r"\b(?:no|not|without|exclud\w*|rul\w+ out|rather|unlike|instead|than|except)\b")
LONG_ROW = 5
"""Number of things joined by "or" that are guesses, even if no table distinguishes them."""
MIN_LIST = 4
"""Different things in a comma-separated list; a shorter list may be one finding with its details."""
MAX_PARTS = 60


def offers_guesses(candidate: str, texts: Known) -> bool:
    """Whether a text offers the reference together with other things of its kind.

    Args:
            candidate: The answer, as returned by `plain`, with its line breaks.
        texts: The reference.
    """
    if any(COLLECTIVE.search(form) for form in texts.forms):
        return False
    hedged = HEDGED_SIDE.search(candidate)
    if hedged is not None and hedged[1] != hedged[2]:
        sides = [set(WORD.findall(form)) & {"left", "right"} for form in texts.forms]
        return all(len(side) == 1 for side in sides)
    branches = [part for part in ALTERNATING.split(BULLET.sub("", candidate)) if part.strip()][:MAX_PARTS]
    pieces = [piece.strip() for branch in branches for piece in LISTED.split(branch)][:MAX_PARTS]
    parts = [part for piece in pieces if (part := LEADING.sub("", piece, count=1))]
    if len(parts) < 2 or not any(texts.has(part) for part in parts):
        return False
    right = things(" ".join(texts.forms))
    if any(denies(right, part) for part in parts):
        return True
    others = [part for part in parts if not DENIED.search(part)]
    apart = [differs(right, part, texts) for part in others]
    if len(branches) > 1:
        return any(apart) or (len(parts) >= LONG_ROW and bool(OR.search(candidate)))
    named = [things(part) for part in others]
    is_one_of_a_kind = any(excludes(right, other) & SINGLE for other in named)
    has_normal = any("finding" in excludes(right, other) and is_normal(right) != is_normal(other) for other in named)
    return sum(apart) + 1 >= MIN_LIST or (is_one_of_a_kind and sum(apart) > 1) or has_normal


NOTHING_OF = re.compile(r"no |without |absence of ")


def denies(right: dict[str, set[int]], part: str) -> bool:
    """Whether a part only denies what the reference says: "no fracture"."""
    found = NOTHING_OF.match(part)
    said = things(part[found.end() :]) if found else {}
    return len(part.split()) == 2 and any(right.get(kind, set()) & places for kind, places in said.items())


def differs(right: dict[str, set[int]], part: str, texts: Known) -> bool:
    """Whether a part names another thing of a kind, another place of the same thing, or another number of it."""
    form = normalise(part)
    return (
        bool(excludes(right, things(part)))
        or any(is_elsewhere(form, other) for other in texts.forms)
        or any(is_other_number(form, other) for other in texts.forms)
    )


def is_elsewhere(form: str, right: str) -> bool:
    """Whether two texts differ only in words of place."""
    left_words, right_words = form.split(), right.split()
    if [word for word in left_words if word not in OF_PLACE] != [word for word in right_words if word not in OF_PLACE]:
        return False
    said = [[{table[word] for word in side if word in table} for table in PLACES] for side in (left_words, right_words)]
    return any(one and other and not one & other for one, other in zip(*said, strict=True))


def is_other_number(form: str, right: str) -> bool:
    """Whether two texts are different quantities of one dimension, or different numbers with the same word."""
    first, second = read_quantity(form), read_quantity(right)
    if first is not None and second is not None:
        return first.dimension == second.dimension and not same_quantity(first, second)
    one, other = NUMBER.fullmatch(form), NUMBER.fullmatch(right)
    return one is not None and other is not None and one[2] == other[2] and float(one[1]) != float(other[1])


def things(part: str) -> dict[str, set[int]]:
    """The things of each kind that a part names."""
    words = variant(normalise(part)).split()
    found = {kind: {groups[word] for word in words if word in groups} for kind, groups in GROUPS.items()}
    return {kind: places for kind, places in found.items() if places}


def excludes(right: dict[str, set[int]], other: dict[str, set[int]]) -> set[str]:
    """The kinds in which the two name different things."""
    return {kind for kind in right.keys() & other.keys() if not right[kind] & other[kind]}


def is_normal(part: dict[str, set[int]]) -> bool:
    """Whether a part says that nothing was found."""
    return part.get("finding") == {0}
