# SPDX-License-Identifier: Apache-2.0
"""Questions for tests/benchmarks/peers.py, made of facts that stand in any textbook: choices, yes or no, open, rubrics.

Each kind of question has at least 500 rows. A fact gives several of them, in other words or with other wrong options,
so they are not independent: they show how answers are read, and say nothing of a model's knowledge.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from medix_verl.types import Sample

__all__ = ["CONVERSATIONS", "KINDS", "LETTERS", "conversations", "questions", "written"]

KINDS = ("choice", "yesno", "open")
CONVERSATIONS = 500
LETTERS = "ABCD"

# Each table: what is asked (four phrasings), the statement, and lines of "subject: answer".
TABLES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        (
            "Which organism causes {}?",
            "Name the organism that causes {}. Answer with its name only.",
            "What is the usual cause of {}?",
            "A patient has {}. Which pathogen is responsible?",
        ),
        "{} is caused by {}",
        """tuberculosis: Mycobacterium tuberculosis; syphilis: Treponema pallidum; Lyme disease: Borrelia burgdorferi;
        whooping cough: Bordetella pertussis; cholera: Vibrio cholerae; gas gangrene: Clostridium perfringens;
        tetanus: Clostridium tetani; diphtheria: Corynebacterium diphtheriae; leprosy: Mycobacterium leprae;
        gonorrhoea: Neisseria gonorrhoeae; plague: Yersinia pestis; anthrax: Bacillus anthracis; scarlet fever:
        Streptococcus pyogenes; typhoid fever: Salmonella Typhi; Q fever: Coxiella burnetii; cat-scratch disease:
        Bartonella henselae; chancroid: Haemophilus ducreyi; botulism: Clostridium botulinum; peptic ulcer disease:
        Helicobacter pylori; thrush: Candida albicans; kala-azar: Leishmania donovani; sleeping sickness:
        Trypanosoma brucei; Chagas disease: Trypanosoma cruzi; river blindness: Onchocerca volvulus; chickenpox:
        varicella zoster virus; infectious mononucleosis: Epstein-Barr virus""",
    ),
    (
        (
            "Which gland or organ produces {}?",
            "Where is {} made? Answer with one or two words.",
            "Name the main source of {} in the body.",
            "A tumour secretes {}. Which organ normally makes this hormone?",
        ),
        "The main source of {} is the {}",
        """insulin: pancreas; cortisol: adrenal cortex; adrenaline: adrenal medulla; thyroxine: thyroid gland;
        calcitonin: thyroid C cells; growth hormone: anterior pituitary; oxytocin: hypothalamus; melatonin: pineal
        gland; parathyroid hormone: parathyroid glands; testosterone: testes; erythropoietin: kidney; renin:
        juxtaglomerular cells; gastrin: stomach antrum; secretin: duodenum; progesterone: corpus luteum; leptin:
        adipose tissue; thymosin: thymus; atrial natriuretic peptide: heart atria; angiotensinogen: liver; human
        chorionic gonadotropin: placenta; inhibin B: Sertoli cells; intrinsic factor: parietal cells""",
    ),
    (
        (
            "What is the antidote or specific treatment for {} poisoning?",
            "A patient took too much {}. Which drug reverses it? Answer with the name only.",
            "Name the specific antidote to {}.",
            "Which agent is given first for {} toxicity?",
        ),
        "{} poisoning is treated with {}",
        """paracetamol: acetylcysteine; opioid: naloxone; benzodiazepine: flumazenil; warfarin: vitamin K; heparin:
        protamine sulfate; digoxin: digoxin-specific antibody fragments; iron: deferoxamine; lead: dimercaprol;
        methanol: fomepizole; organophosphate: atropine; cyanide: hydroxocobalamin; beta blocker: glucagon;
        isoniazid: pyridoxine; dabigatran: idarucizumab; methotrexate: folinic acid; carbon monoxide: 100% oxygen;
        atropine: physostigmine; sulfonylurea: octreotide; copper: penicillamine; methaemoglobin: methylene blue;
        magnesium: calcium gluconate; rocuronium: sugammadex""",
    ),
    (
        (
            "To which class of drugs does {} belong?",
            "What kind of drug is {}? Answer in a few words.",
            "Name the drug class of {}.",
            "A patient takes {}. What is its pharmacological class?",
        ),
        "{} is a {}",
        """metoprolol: beta blocker; lisinopril: ACE inhibitor; losartan: angiotensin receptor blocker; amlodipine:
        calcium channel blocker; furosemide: loop diuretic; spironolactone: aldosterone antagonist; atorvastatin:
        statin; omeprazole: proton pump inhibitor; ranitidine: H2 receptor antagonist; metformin: biguanide;
        glibenclamide: sulfonylurea; sitagliptin: DPP-4 inhibitor; fluoxetine: selective serotonin reuptake
        inhibitor; amitriptyline: tricyclic antidepressant; haloperidol: typical antipsychotic; diazepam:
        benzodiazepine; ciprofloxacin: fluoroquinolone; azithromycin: macrolide; gentamicin: aminoglycoside;
        vancomycin: glycopeptide; ceftriaxone: third-generation cephalosporin; apixaban: factor Xa inhibitor;
        clopidogrel: P2Y12 inhibitor; salbutamol: beta-2 agonist; ipratropium: anticholinergic; ondansetron: 5-HT3
        antagonist""",
    ),
    (
        (
            "Which structure is damaged or affected in {}?",
            "Name the structure affected in {}. Answer in one to three words.",
            "A patient has {}. Where is the lesion?",
            "What is the site of the damage in {}?",
        ),
        "The site of the damage in {} is the {}",
        """wrist drop: radial nerve; foot drop: common peroneal nerve; claw hand: ulnar nerve; carpal tunnel syndrome:
        median nerve; Bell's palsy: facial nerve; winged scapula: long thoracic nerve; Parkinson disease: substantia
        nigra; Broca aphasia: inferior frontal gyrus; Wernicke aphasia: superior temporal gyrus; hemiballismus:
        subthalamic nucleus; bitemporal hemianopia: optic chiasm; trigeminal neuralgia: trigeminal nerve; hoarseness
        after thyroidectomy: recurrent laryngeal nerve; amyotrophic lateral sclerosis: motor neurons; multiple
        sclerosis: central myelin; myasthenia gravis: neuromuscular junction; alcoholic ataxia: cerebellar vermis;
        meralgia paraesthetica: lateral femoral cutaneous nerve; Erb palsy: upper brachial plexus; tennis elbow:
        lateral epicondyle; golfer's elbow: medial epicondyle; housemaid's knee: prepatellar bursa""",
    ),
    (
        (
            "How many {} does a healthy adult have?",
            "Give the usual number of {} in an adult. Answer with a number.",
            "State the normal adult count of {}.",
            "In human anatomy, what is the number of {}?",
        ),
        "The number of {} in an adult is {}",
        """cervical vertebrae: 7; thoracic vertebrae: 12; lumbar vertebrae: 5; pairs of ribs: 12; cranial nerves in
        pairs: 12; permanent teeth: 32; chambers of the heart: 4; lobes of the right lung: 3; lobes of the left
        lung: 2; carpal bones in one hand: 8; tarsal bones in one foot: 7; bones in the body: 206; chromosomes in a
        somatic cell: 46; cusps of the aortic valve: 3; cusps of the mitral valve: 2""",
    ),
)


def facts() -> list[tuple[tuple[str, ...], str, str, str, list[str]]]:
    """Phrasings, statement, subject, answer, and the other answers of its table."""
    found = []
    for phrasings, statement, lines in TABLES:
        pairs = [tuple(part.strip() for part in item.split(":")) for item in " ".join(lines.split()).split(";")]
        answers = list(dict.fromkeys(answer for _, answer in pairs))
        for subject, answer in pairs:
            found.append((phrasings, statement, subject, answer, [other for other in answers if other != answer]))
    return found


def questions(kind: str) -> Iterator[Sample]:
    """The rows of one of KINDS; the same at every call."""
    rng = random.Random(kind)
    number = 0
    for phrasings, statement, subject, answer, others in facts():
        for place, phrasing in enumerate(phrasings):
            wrong = rng.sample(others, 3)
            text, options, gold, label = phrasing.format(subject), None, answer, None
            if kind == "choice":
                options = [answer, *wrong]
                rng.shuffle(options)
                label = LETTERS[options.index(answer)]
            elif kind == "yesno":
                true = place % 2 == 0
                message = statement.format(subject, answer if true else wrong[0])
                text, gold = f"Is this statement right? {message[0].upper()}{message[1:]}.", "yes" if true else "no"
                text += " Answer yes or no." if place < 2 else ""
            meta: dict[str, Any] = {"licence": "none", "answer_type": "open" if kind == "open" else "closed"}
            meta |= {"label": label} if label else {}
            given = tuple(options) if options else None
            yield Sample(f"{kind}-{number:04d}", f"peers_{kind}", text, gold, None, (), given, "test", meta)
            number += 1


def conversations() -> Iterator[dict[str, Any]]:
    """CONVERSATIONS lines in HealthBench's published layout, with criteria of all signs, themes and axes."""
    rng = random.Random("rubric")
    every = facts()
    themes = ("emergency_referrals", "context_seeking", "hedging", "global_health", "communication")
    axes = ("accuracy", "completeness", "communication_quality", "context_awareness", "instruction_following")
    for number in range(CONVERSATIONS):
        phrasings, statement, subject, answer, others = every[number % len(every)]
        wrong = rng.choice(others)
        turns = [{"role": "user", "content": phrasings[number // len(every) % len(phrasings)].format(subject)}]
        if number % 3 == 0:
            turns = [
                {"role": "user", "content": f"I have a question about {subject}."},
                {"role": "assistant", "content": "What would you like to know?"},
                *turns,
            ]
        turns[-1]["content"] += f" (case {number:04d})"
        wanted = [
            (f"Says that {statement.format(subject, answer)}", rng.randint(3, 10)),
            ("Advises to see a doctor", rng.randint(1, 5)),
            (f"Wrongly says that {statement.format(subject, wrong)}", -rng.randint(3, 10)),
            ("Is longer than it needs to be", -rng.randint(1, 6)),
            (f"Explains what {subject} is", rng.randint(1, 8)),
            ("Repeats itself", -rng.randint(1, 5)),
        ]
        kept = wanted[:1] + rng.sample(wanted[1:], rng.randint(1, 5))
        rubrics = [
            {"criterion": f"{text} [case {number:04d}]", "points": worth, "tags": [f"axis:{rng.choice(axes)}"]}
            for text, worth in kept
        ]
        yield {
            "prompt_id": f"rubric-{number:04d}",
            "prompt": turns,
            "rubrics": rubrics,
            "example_tags": [f"theme:{rng.choice(themes)}"],
            "ideal_completions_data": None,
        }


# Forms of a written answer, and whether one of them is right when it is given for the right option, word or text:
# L and T are the letter and text that it gives, M and W another letter and text.
FORMS: dict[str, tuple[tuple[str, bool], ...]] = {
    "choice": (
        *(
            (form, True)
            for form in (
                *("L", "L.", "(L)", "**L**", "L. T", "L) T", "T", "T.", "The answer is L.", "Answer: L", "Option L"),
                *("The correct answer is L. T", "The correct answer is **T**.", "\\boxed{L}", "L. T\n\nIt is typical."),
                *("<think>W is less likely.</think><answer>L</answer>", "The best choice is T, since W does not fit."),
                *("Not M, but L.", "M is wrong. The answer is L.", "Let us think: W? No. So the answer is (L)."),
            )
        ),
        *((form, False) for form in ("It could be L or M.", "T or W", "L, M", "A patient like this needs more tests.")),
        *((form, False) for form in ("I cannot tell.", "All of the above", "None of them.", "L. W")),
    ),
    "yesno": (
        *(
            (form, True)
            for form in (
                *("T", "T.", "**T**", "The answer is T.", "Answer: T", "\\boxed{T}", "T, I am sure.", "I say T."),
                *("<think>It might be W.</think><answer>T</answer>", "T. It is in the textbooks.", "Not W but T."),
                "There is no doubt about it: T.",
            )
        ),
        *((form, False) for form in ("T and W.", "T or W", "This is not known.", "It depends.", "I do not know.")),
    ),
    "open": (
        *(
            (form, True)
            for form in (
                *("T", "T.", "**T**", "The T", "It is T.", "The answer is T.", "Answer: T", "\\boxed{T}", '"T"', "- T"),
                *("<think>Or W?</think><answer>T</answer>", "T (most likely)", "Most likely T", "T\n", "Not W, but T."),
                "The correct answer is **T**.",
            )
        ),
        *((form, False) for form in ("not T", "T or W", "T and W", "anything but T", "I do not know.", "W, not T")),
    ),
}


def written(sample: Sample, kind: str, number: int) -> tuple[str, str, bool]:
    """An answer to a question: its form, the text, and whether it is right.

    Every third answer gives a wrong option, word or text, in forms that would be right with the right one.
    """
    rng = random.Random(sample.id)
    form, fits = FORMS[kind][number % len(FORMS[kind])]
    others = [other for other in sample.options or WRONG.get(sample.answer) or () if other != sample.answer]
    others = others or [other for fact in facts() if fact[3] == sample.answer for other in fact[4]]
    message, other = sample.answer, rng.choice(others)
    right = number % 3 != 2 or not fits
    if not right:
        message, other = other, message
    letters = {text: LETTERS[place] for place, text in enumerate(sample.options or ())}
    parts = {"L": letters.get(message, ""), "M": letters.get(other, ""), "T": message, "W": other}
    text = re.sub(r"(?<![A-Za-z])[LMTW](?![A-Za-z])", lambda found: parts[found[0]], form)
    return form, text, right and fits


WRONG = {"yes": ("no",), "no": ("yes",)}
