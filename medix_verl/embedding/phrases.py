# SPDX-License-Identifier: Apache-2.0
"""Tables of the words of a statement that are not values of an aspect: negations, comparisons, yes and no, units.

Format as in medix_verl.embedding.opposites: singular, lower case, American spelling.
"""

from __future__ import annotations

__all__ = [
    "COMPARISONS",
    "COMPARISONS_AFTER",
    "LABELS",
    "NEGATIONS",
    "NEGATIVE_PREFIXES",
    "NEUTRAL",
    "NO_HEADS",
    "OPPOSITE_PREFIXES",
    "PLAIN_WORDS",
    "POLAR",
    "POLAR_DIRECT",
    "PREPOSITIONS",
    "SEPARATORS",
    "UNITS_ABROAD",
]

NEGATIONS: dict[str, str] = {
    "forward": "no, without, absence of, absent, lack of, lacking, lack, negative for, free of, free from, free, "
    "deny, denies, never, neither, nor, no evidence of, no sign of, ruled out, rule out, exclude, excluded, fail "
    "to, not, cannot, can not, unable to, inability to, devoid of, non, nonexistent, resolved, 没有, 无, 未见, 不, "
    "未",
    "backward": "absent, negative, not seen, not present, not identified, not visible, not visualized, not "
    "detected, not evident, not found, not noted, not demonstrated, not appreciated, not shown, was ruled out, is "
    "ruled out, been ruled out, were ruled out, ruled out, excluded, was excluded, is excluded, is missing, is "
    "lacking, is absent, are absent, was absent, were absent, unlikely, not likely, 阴性, 缺如",
}
"""Words that deny what follows them in the same part of a sentence, and words that deny what precedes them."""

NEUTRAL = (
    "cannot be excluded, cannot be ruled out, can not be excluded, can not be ruled out, not excluded, not ruled "
    "out, not be excluded, not be ruled out, not absent, not without, not only, not uncommon, no doubt, no longer "
    "absent, not missing, not lacking, no lack of, no absence of, not negative, "
    "one half, one third, one fourth, one quarter, two third, three quarter"
)
"""Phrases that contain a negation and deny nothing, and fractions in words, whose "one" is not a count."""

NO_HEADS = (
    "evidence, sign, suggestion, indication, finding, feature, appearance, area, region, side, aspect, part, "
    "portion, definite, obvious, significant, clear, image, scan, study, film, case, patient, view, picture, type, "
    "identified, seen, present, noted, visible, visualized, detected, demonstrated, found, evident, shown"
)
"""Words that are not what a negation denies, although they are next to it: "no evidence of", "not seen"."""

POLAR: dict[str, str] = {
    "yes": "yes, yep, yeah, ja, oui, sí, true, correct, sure, certainly, affirmative, positive, present, "
    "definitely, indeed, of "
    "course, 是, 是的, 有, 对, 存在, 阳性, ✓",
    "no": "no, nein, nope, false, incorrect, negative, absent, none, not present, never, nil, zero, "
    "not seen, not at all, "
    "nothing, 不是, 否, 没有, 无, 不, 阴性, ✗, ∅",
}
"""Complete answers, and first words of answers, to a yes/no question."""

POLAR_DIRECT = (
    "yes, no, nope, yep, yeah, ja, oui, sí, nein, true, false, correct, incorrect, sure, certainly, 是, 否, 不, ✓, ✗"
)
"""Entries of POLAR that answer the question; the others ("absent") state a finding, whatever the question was."""

NEGATIVE_PREFIXES = ("a", "an", "ab", "un", "in", "im", "il", "ir", "non", "dis", "de", "mis", "anti", "pseudo")
"""A word with one of these contradicts the word without it: "asymptomatic" and "symptomatic"."""

OPPOSITE_PREFIXES = (
    "hyper hypo iso normo eu dys",
    "brady tachy",
    "macro micro",
    "poly oligo mono di tri tetra pan",
    "uni bi tri multi quadri",
    "intra extra inter trans para peri juxta sub supra",
    "endo exo ecto meso",
    "supra infra sub retro",
    "super sub",
    "pre post peri",
    "ante post retro",
    "homo hetero",
    "eso exo hyper hypo",
    "ab ad",
    "intro extro retro",
    "myo neuro osteo",
    "pneumo hemo hydro pyo chylo",
    "gastr colon rhin laryng bronch arthr",
    "thoraco laparo",
    "cranio cervico thoraco lumbo",
    "megalo micro",
    "leuko erythro thrombo",
    "cortico medullo",
    "ortho retro",
    "gluco fructo galacto lacto",
    "brachy dolicho",
    "lepto pachy",
    "pro retro",
    "up down",
    "over under",
)
"""Prefixes that contradict each other before the same stem: "hyperkalemia" and "hypokalemia"."""

COMPARISONS: dict[str, str] = {
    "<": "<, less than, fewer than, smaller than, under, below, shorter than, lower than, 小于",
    ">": ">, more than, greater than, larger than, over, above, exceeding, longer than, higher than, bigger than, 大于",
    "≤": "≤, ⩽, < =, at most, up to, no more than, not more than, maximum of, less than or equal to",
    "≥": "≥, ⩾, > =, at least, no less than, not less than, minimum of, greater than or equal to, more than or "
    "equal to",
}
"""Comparison mark -> its spellings before a number."""

COMPARISONS_AFTER: dict[str, str] = {
    "≥": "or more, or greater, or larger, or above, or over, or higher, or longer, and above, and over, and more",
    "≤": "or less, or fewer, or smaller, or below, or lower, or shorter, and below, and under",
}
"""Comparison mark -> its spellings after a number."""

UNITS_ABROAD = (
    "mmol, umol, μmol, µmol, nmol, pmol, mol, meq, miu, iu, u, unit, D, dioptre, diopter, gauge, G, kpa, "
    "pa, torr, °f, k, hz, khz, mhz, w, j, kcal, cal, kj, gy, cgy, sv, msv, bq, mbq, ci, mci, v, mv, ma, "
    "fl, fg"
)
"""Units without a conversion table; they are compared by name."""

LABELS = (
    "stage, grade, type, class, phase, factor, nerve, level, category, group, zone, segment, degree, lead, cn, "
    "complex, hypersensitivity, antithrombin, angiotensin, collagen, mucopolysaccharidosis, salter, harris, figo, "
    "nyha, who, isup, fitzpatrick, killip, mallampati, score, subtype, part, cranial, tanner, mobitz, bipolar, "
    "chiari, fort, birads, lirads, pirads, tirads, rads"
)
"""Words before a Roman numeral; after one of them any Roman numeral is read as a number."""

PREPOSITIONS = (
    "of, in, on, at, to, for, from, within, by, involving, affecting, near, along, above, below, is, are, was, were"
)
"""Words that end the scope of a negation."""

SEPARATORS = "with, but, however, although, though, except, while, which, whereas, because, since, ;"
"""Words that separate the parts of a text."""

PLAIN_WORDS = (
    "a, an, the, of, in, on, at, to, for, from, by, and, or, is, are, was, were, be, been, being, it, its, this, "
    "that, there, these, those, as, with, which, has, have, had, shows, show, showing, shown, demonstrate, "
    "demonstrates, reveal, reveals, most, likely, probable, probably, possible, possibly, consistent, suggestive, "
    "suspicious, diagnosis, answer, option, i, we, you, do, does, did, can, may, might, will, would, within, into, "
    "than, then, also, very, quite, some, any, all, due, patient, image, picture, scan, film, seen, side, sided, "
    "aspect, region, area, level, lesion, finding, disease, syndrome, weighted, about, approximately, approx, "
    "around, ca, evidence, what, where, how, who, when, one, only, just, measuring, measure, size, sized, 的, 是, "
    "了, 在"
)
"""Function words and other words without content."""
