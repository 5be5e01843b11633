# SPDX-License-Identifier: Apache-2.0
"""Tables of contradicting values: for each aspect, the values that exclude each other, and the words for each value.

`medix_verl.embedding.contrast` reads these tables and contains no words itself. Words are singular, lower case and in
American spelling; `word*` matches any word with that beginning, `*word` any word with that ending, several words are a
phrase, and the longest matching entry is used. A word may have several values ("bilateral" is left and right).
"""

from __future__ import annotations

__all__ = [
    "COMPLEMENTS",
    "EXCEPT",
    "LACK",
    "OPPOSITES",
    "STRICT",
]

OPPOSITES: dict[str, dict[str, str]] = {
    "side": {
        "left": "left, lt, links, linke, linker, gauche, izquierdo, izquierda, sinistral, "
        "bilateral, both side, both, left and right, right and left, 左, 双侧, 两侧, 双",
        "right": "right, rt, rechts, rechte, rechter, droite, derecho, derecha, dextral, bilateral, "
        "both side, both, left and right, right and left, 右, 双侧, 两侧, 双",
    },
    "laterality": {
        "one": "unilateral, one sided, single sided, 单侧",
        "two": "bilateral, both side, both, left and right, right and left, 双侧, 两侧",
    },
    "height": {
        "upper": "upper, superior, cranial, cephalad, cephalic, top, apical, 上叶, 上部, 上段, supero",
        "middle": "middle, mid, 中叶, 中部, 中段",
        "lower": "lower, inferior, caudal, caudad, bottom, basal, lung base, basilar, bibasilar, 下叶, 下部, 下段, "
        "infero",
    },
    "front and back": {
        "front": "anterior, ventral, front, antero, ventro, 前部, 前壁, 前段",
        "back": "posterior, dorsal, back, postero, dorso, 后部, 后壁, 后段",
    },
    "distance from the trunk": {"near": "proximal, 近端", "middle": "middle, mid", "far": "distal, terminal, 远端"},
    "distance from the midline": {"near": "medial, mesial, nasal side, 内侧", "far": "lateral, temporal side, 外侧"},
    "centre": {
        "centre": "central, centrally, centric, perihilar",
        "edge": "peripheral, peripherally, subpleural, marginal",
    },
    "depth": {"inner": "inner, internal", "middle": "middle", "outer": "outer, external"},
    "layer": {"superficial": "superficial", "deep": "deep, deeply"},
    "limb": {
        "upper": "upper limb, upper extremity, upper arm, arm, forearm, hand, finger, thumb, wrist, elbow, palm, "
        "palmar, shoulder, humer*, carpal, metacarp*, fingernail, fingertip, index finger, middle finger, ring "
        "finger, little finger, small finger, long finger, pinky, pinkie, ulna*, radius, thenar, fingerprint",
        "lower": "lower limb, lower extremity, lower leg, leg, thigh, foot, feet, toe, hallux, big toe, great toe, "
        "little toe, ankle, sole, plantar, knee, femur, femoral, tibia*, fibula*, tarsal, metatars*, toenail, calf, "
        "hip",
    },
    "digit": {
        "1": "thumb, hallux, big toe, great toe, pollex",
        "2": "index finger, forefinger, pointer finger",
        "3": "middle finger, long finger",
        "4": "ring finger",
        "5": "little finger, small finger, pinky, pinkie, pinky finger, little toe, small toe, baby toe",
    },
    "joint": {
        "shoulder": "shoulder, glenohumeral",
        "elbow": "elbow, cubital",
        "wrist": "wrist, carpal, radiocarpal",
        "hip": "hip, acetabul*, coxofemoral",
        "knee": "knee, patella*, genu",
        "ankle": "ankle, talocrural",
    },
    "bone": {
        "humerus": "humer*",
        "radius": "radius, radii",
        "ulna": "ulna, ulnar, ulnae",
        "femur": "femur, femora, femoral, thigh bone, thighbone",
        "tibia": "tibia, tibial, shinbone, shin bone",
        "fibula": "fibula, fibular, calf bone",
        "metacarpal": "metacarp*",
        "metatarsal": "metatars*",
        "carpal": "carpal, wrist bone",
        "tarsal": "tarsal",
        "phalanx": "phalanx, phalange, phalanges, phalangeal",
        "clavicle": "clavicle, clavicular, collarbone, collar bone",
        "scapula": "scapula, scapular, shoulder blade",
        "sternum": "sternum, sternal, breastbone",
        "rib": "rib",
        "mandible": "mandible, mandibular, lower jaw",
        "maxilla": "maxilla, maxillary, upper jaw",
    },
    "spine": {
        "cervical": "cervical spine, cervical vertebra, c spine",
        "thoracic": "thoracic spine, thoracic vertebra, t spine, dorsal spine",
        "lumbar": "lumbar, l spine",
        "sacral": "sacral, sacrum",
    },
    "lobe of the brain": {
        "frontal": "frontal, frontally",
        "parietal": "parietal",
        "occipital": "occipital",
        "temporal": "temporal lobe, temporal",
    },
    "fossa": {"supra": "supratentorial", "infra": "infratentorial"},
    "meninges": {"epidural": "epidural, extradural", "subdural": "subdural", "subarachnoid": "subarachnoid"},
    "heart chamber": {"atrium": "atrium, atrial, atria", "ventricle": "ventricle, ventricular"},
    "valve": {
        "mitral": "mitral",
        "tricuspid": "tricuspid",
        "aortic": "aortic valve, aortic stenosis, aortic regurgitation, aortic insufficiency, aortic",
        "pulmonary": "pulmonary valve, pulmonic, pulmonary stenosis, pulmonary regurgitation",
    },
    "vessel": {"artery": "artery, arterial, arteries", "vein": "vein, venous, venou, venule"},
    "organ": {
        "kidney": "kidney, renal, nephr*",
        "liver": "liver, hepat*",
        "spleen": "spleen, splenic, splen*",
        "pancreas": "pancrea*",
        "stomach": "stomach, gastric",
        "lung": "lung, pulmonary, pulmon*",
        "heart": "heart, cardiac",
        "thyroid": "thyroid, thyroidal",
        "adrenal": "adrenal",
        "bladder": "bladder, urinary bladder, vesical",
        "gallbladder": "gallbladder, gall bladder, cholecyst*",
        "prostate": "prostate, prostatic",
        "uterus": "uterus, uterine, womb",
        "ovary": "ovary, ovarian",
        "testis": "testis, testes, testicular, testicle",
        "breast": "breast, mammary",
        "esophagus": "esophag*",
        "colon": "colon, colonic",
        "rectum": "rectum, rectal",
        "duodenum": "duoden*",
        "jejunum": "jejun*",
        "ileum": "ileum, ileal",
        "ilium": "ilium, iliac bone",
        "ureter": "ureter, ureteral, ureteric",
        "urethra": "urethra, urethral",
        "eye": "eye, ocular",
        "ear": "ear, auricular, auricle, pinna",
        "nose": "nose, nasal",
    },
    "tissue": {"muscle": "muscle, muscular", "bone": "bone, bony, osseous", "skin": "skin, cutaneous, dermal"},
    "look-alike place": {"perineum": "perine*", "peroneal": "peroneal", "peritoneum": "peritone*"},
    "eyelid": {"lid": "eyelid", "lash": "eyelash, lash", "brow": "eyebrow, brow"},
    "tooth": {"incisor": "incisor", "canine": "canine", "premolar": "premolar, bicuspid tooth", "molar": "molar"},
    "part of a bone": {"epiphysis": "epiphys*", "metaphysis": "metaphys*", "diaphysis": "diaphys*"},
    "matter": {"white": "white", "gray": "gray, grey"},
    "sequence": {
        "T1": "t1, t1w, t1wi, t1 weighted",
        "T2": "t2, t2w, t2wi, t2 weighted",
        "FLAIR": "flair, t2 flair, fluid attenuated inversion recovery, flair t2",
        "DWI": "dwi, diffusion weighted, diffusion weighted imaging",
        "ADC": "adc, apparent diffusion coefficient",
        "STIR": "stir, short tau inversion recovery",
        "SWI": "swi, susceptibility weighted, susceptibility weighted imaging",
        "GRE": "gre, gradient echo",
        "PD": "pd weighted, proton density",
    },
    "modality": {
        "x-ray": "xray, x ray, radiograph, radiography, plain film, roentgenogram, cxr",
        "CT": "ct, computed tomography, cat scan",
        "MRI": "mri, mr, magnetic resonance, magnetic resonance imaging",
        "ultrasound": "ultrasound, ultrasonography, sonography, sonogram, us scan, echography",
        "PET": "pet, positron emission tomography",
        "SPECT": "spect",
        "mammography": "mammography, mammogram",
        "endoscopy": "endoscopy, endoscopic",
        "OCT": "oct, optical coherence tomography",
    },
    "plane": {"axial": "axial, transverse, transaxial, horizontal", "coronal": "coronal", "sagittal": "sagittal"},
    "view": {"PA": "pa, posteroanterior", "AP": "ap, anteroposterior"},
    "contrast agent": {
        "with": "with contrast, contrast enhanced, post contrast, postcontrast",
        "without": "without contrast, non contrast, noncontrast, unenhanced, pre contrast, plain ct",
    },
    "phase of the contrast": {"arterial": "arterial phase", "venous": "venous phase, portal phase"},
    "density": {
        "dark": "hypodense, hypoattenuating, hypodensity, low density, low attenuation, radiolucent, lucent",
        "same": "isodense, isoattenuating",
        "bright": "hyperdense, hyperattenuating, hyperdensity, high density, high attenuation, radiopaque, radiodense",
    },
    "signal": {
        "dark": "hypointense, hypointensity, low signal, dark, hypoechoic, anechoic, dark adapted",
        "same": "isointense, isoechoic",
        "bright": "hyperintense, hyperintensity, high signal, bright, hyperechoic, echogenic, light adapted",
    },
    "uptake": {"cold": "cold, hypometabolic, photopenic", "hot": "hot, hypermetabolic, avid"},
    "amount": {
        "more": "increas*, overact*, increment*, elevat*, raised, rise, rising, high, higher, hyper*, excess, "
        "excessive, surplus, overact*, hyperact*, gain, exaggerated, over production, overproduction, enhanced, "
        "brisk, up, *cytosis, *philia, increasing, augment*, boosted, 增高, 升高, 增加, ↑",
        "same": "unchanged, stable, normal level, normal concentration, 不变, →",
        "none": "absent, absence, agenesis",
        "less": "decreas*, decrement*, underact*, reduc*, lowered, low, lowest, hypo*, diminish*, depress*, "
        "deficien*, underactive, declin*, loss, fall, falling, drop, weak, weakened, weakness, *penia, "
        "insufficien*, down, depleted, depletion, 降低, 减少, 减低, ↓",
    },
    "size": {
        "large": "large, larger, big, bigger, enlarg*, macro*, *megaly, mega*, giant, huge, broad, wide, wider, "
        "widen*, dilat*, dilation, distend*, distension, *ectasis, *ectasia, ectatic, expand*, expansion, "
        "hypertroph*, hyperplas*, hyperplastic, overgrowth, long, longer, tall, elongat*, prolong*, lengthen*, "
        "thick, thicker, thicken*, 增大, 扩大, 扩张, 肿大",
        "normal": "normal size, normal sized, normal in size, normal caliber, normal length, normal width, normal",
        "small": "small, smaller, tiny, little, micro*, shrunken, shrink*, narrow*, constrict*, stenosis, stenotic, "
        "stenosed, strictur*, atroph*, short, shorter, shorten*, thin, thinner, thinning, collapsed, 缩小, 狭窄, "
        "萎缩",
    },
    "development": {
        "none": "aplas*, agenesis, absent, absence",
        "less": "hypoplas*, underdevelop*, small, rudimentary, hypotroph*",
    },
    "shape": {
        "triangular": "triangular, triangle, wedge shaped",
        "round": "round, rounded, circular, spherical",
        "oval": "oval, ovoid, elliptical",
        "square": "square, squared, rectangular",
        "conical": "cone, conical, cone shaped",
        "bullet": "bullet, bullet shaped",
        "linear": "linear",
        "irregular": "irregular*, jagged",
        "curved": "curved, curving, bowed, bowing, bent",
        "wide": "broad, wide, large, enlarg*",
        "small": "small, short, narrow, tiny",
        "double": "duplicat*, double, bifid",
        "fragmented": "fragment*",
        "stippled": "stippl*, punctate",
        "sclerotic": "sclerosis, sclerotic, ivory",
        "bracket": "bracket",
    },
    "what is altered": {
        "form": "morpholog*, structure, structural, anatomy, anatomical",
        "function": "physiolog*, function, functional, functioning",
        "count": "count",
    },
    "sense": {
        "sight": "visual, vision, sight",
        "hearing": "auditory, hearing",
        "smell": "olfactory, smell",
        "taste": "gustatory, taste",
        "touch": "somatosensory, tactile, touch",
        "balance": "vestibular, vertiginous",
    },
    "hardness": {"hard": "hard", "soft": "soft"},
    "lining": {
        "endothelium": "*endothelial, endotheli*",
        "epithelium": "*epithelial, epitheli*",
        "mesothelium": "*mesothelial, mesotheli*",
    },
    "layer of the skin": {"epidermis": "epidermis, epidermal", "dermis": "dermis, dermal, subepidermal"},
    "layer of a vessel": {
        "intima": "intima, intimal",
        "media": "tunica media",
        "adventitia": "adventitia, adventitial",
    },
    "cortex or medulla": {"cortex": "cortex, cortical", "medulla": "medulla, medullary"},
    "rate": {"fast": "tachy*, fast, rapid, accelerat*, quick", "slow": "brady*, slow, slowed, slowing, delayed"},
    "time of onset": {
        "early": "early, premature, precocious, accelerat*, advanced bone age",
        "late": "late, delayed, delay, retarded",
    },
    "age": {
        "fetal": "fetal, antenatal, prenatal, intrauterine",
        "newborn": "neonatal, newborn",
        "infant": "infantile, infancy, infant",
        "child": "childhood, juvenile, pediatric, child",
        "adult": "adult, adulthood, adult onset",
        "old": "senile, elderly, geriatric",
    },
    "count": {"few": "few, fewer, sparse", "many": "many, numerous, multiple"},
    "number of parts": {"one": "single, solitary", "many": "multiple, numerous, several, many"},
    "severity": {
        "mild": "mild, mildly, slight, slightly, minimal, borderline, 轻度",
        "moderate": "moderate, moderately, 中度",
        "severe": "severe, severely, marked, markedly, profound, profoundly, massive, 重度, 严重",
    },
    "grade of a tumor": {
        "low": "low grade, well differentiated",
        "intermediate": "intermediate grade, moderately differentiated",
        "high": "high grade, poorly differentiated",
    },
    "course": {
        "acute": "acute, acutely, sudden, recent, 急性",
        "subacute": "subacute, 亚急性",
        "chronic": "chronic, chronically, longstanding, long standing, old, remote, 慢性",
        "recurrent": "recurrent, relapsing",
    },
    "nature": {
        "benign": "benign, noncancerous, non cancerous, nonmalignant, non malignant, 良性",
        "malignant": "malignan*, cancerous, 恶性",
    },
    "origin": {"primary": "primary", "secondary": "secondary, metastatic, metastas*"},
    "acquired": {"inborn": "congenital, inborn, hereditary, inherited", "later": "acquired"},
    "extent": {
        "part": "partial, partially, incomplete, incompletely, subtotal",
        "all": "complete, completely, total, totally",
    },
    "spread": {
        "focal": "focal, focally, localized, local, circumscribed, segmental, segmentally, sectoral, patchy, lobar",
        "diffuse": "diffuse, diffusely, generalized, disseminated, widespread, global, globally, miliary",
    },
    "symmetry": {"even": "symmetric*", "uneven": "asymmetr*"},
    "typical": {"typical": "typical", "atypical": "atypical"},
    "regular": {
        "regular": "regular, smooth, well defined, well circumscribed",
        "irregular": "irregular*, ill defined, poorly defined, spiculated",
    },
    "activity": {"active": "active", "inactive": "inactive, dormant, latent, quiescent"},
    "stable": {"stable": "stable", "unstable": "unstable"},
    "change": {
        "better": "improv*, better, resolv*, regress*, remission, decreased in size",
        "worse": "worsen*, worse, progress*, deteriorat*, aggravat*",
        "same": "unchanged, no change, stable",
    },
    "open or closed": {"open": "open, patent, compound fracture", "closed": "closed, occluded, obstructed"},
    "term of pregnancy": {"early": "preterm, premature", "due": "full term, term", "late": "post term, postterm"},
    "sex": {"male": "male, man, men, boy, masculine, 男", "female": "female, woman, women, girl, feminine, 女"},
    "route": {
        "oral": "oral, orally, by mouth, po",
        "intravenous": "intravenous, intravenously, iv infusion, iv bolus",
        "intramuscular": "intramuscular, intramuscularly",
        "subcutaneous": "subcutaneous injection, subcutaneously",
        "topical": "topical, topically",
        "inhaled": "inhaled, inhalation, nebulized",
    },
    "order": {"before": "before, prior to, preoperative", "after": "after, following surgery, postoperative"},
    "what to do": {
        "stop": "stop, stopping, discontinu*, withdraw, withdrawal of, cease, cessation",
        "start": "start, starting, initiat*, begin, beginning",
        "go on": "continue, continuing, continuation",
    },
    "moist": {"dry": "dry", "wet": "wet, exudative"},
    "hearing loss": {"conductive": "conductive", "sensorineural": "sensorineural"},
    "hernia": {
        "inguinal": "inguinal",
        "femoral": "femoral hernia",
        "umbilical": "umbilical",
        "hiatal": "hiatal, hiatus",
    },
    "sex chromosomes": {"XX": "xx", "XY": "xy", "XXY": "xxy"},
    "parent": {"mother": "maternal, mother", "father": "paternal, father"},
    "inheritance": {"dominant": "dominant", "recessive": "recessive"},
    "chromosome": {
        "autosomal": "autosomal, autosomally",
        "X": "x linked",
        "Y": "y linked",
        "mitochondrial": "mitochondrial",
    },
    "shunt": {"right to left": "right to left", "left to right": "left to right"},
    "frequency": {
        "once a day": "once daily, once a day, once per day, every 24 hour, qd, q24h",
        "twice a day": "twice daily, twice a day, twice per day, two time daily, two time a day, every 12 hour, "
        "bid, q12h",
        "three times a day": "three time daily, three time a day, thrice daily, every 8 hour, tid, q8h",
        "four times a day": "four time daily, four time a day, every 6 hour, qid, q6h",
        "weekly": "weekly, once a week, once weekly, every week",
        "monthly": "monthly, once a month, every month",
    },
    "phase of the heart": {"systole": "systol*", "diastole": "diastol*"},
    "nerve": {"motor": "motor", "sensory": "sensory"},
    "direction of a nerve": {"in": "afferent", "out": "efferent"},
    "stroke": {"ischemic": "ischemi*, infarct*", "hemorrhagic": "hemorrhag*, bleed*"},
    "lung function": {"obstructive": "obstructive", "restrictive": "restrictive"},
    "effusion": {"exudate": "exudat*", "transudate": "transudat*"},
    "solid": {"solid": "solid", "cystic": "cystic", "gas": "gaseous"},
    "contents": {
        "air": "pneumothora*, pneumoperitone*, pneumopericard*",
        "blood": "hemothora*, hemoperitone*, hemopericard*",
        "fluid": "hydrothora*, pleural effusion, ascites, pericardial effusion",
    },
    "sight": {"near": "myop*, nearsight*, short sight*", "far": "hyperop*, farsight*, hypermetrop*"},
    "squint": {"in": "esotrop*, esophor*, convergent", "out": "exotrop*, exophor*, divergent", "up": "hypertropia"},
    "flexion": {
        "flexion": "flexion, flexed, flexor, flexing",
        "extension": "extension, extended, extensor, extending",
    },
    "abduction": {"out": "abduction, abducted, abductor", "in": "adduction, adducted, adductor"},
    "rotation": {"up": "supination, supinator, supinated", "down": "pronation, pronator, pronated"},
    "knee axis": {
        "valgus": "valgus, valga, valgum, knock*",
        "varus": "varus, vara, varum, bow leg, bowleg, bowlegged",
    },
    "curvature": {
        "kyphosis": "kyphosis, kyphotic, hyperkyphosis",
        "lordosis": "lordosis, lordotic, hyperlordosis",
        "scoliosis": "scoliosis, scoliotic",
    },
    "curved": {"convex": "convex, convexity", "concave": "concave, concavity", "flat": "flat, flattened"},
    "slant": {
        "up": "upslanted, upslanting, upward slanting, upturned, up slanted, upward",
        "down": "downslanted, downslanting, downward slanting, downturned, downward, drooping, down slanted",
    },
    "high in the body": {"up": "high arched, high set", "down": "low set, lowset"},
    "spacing": {
        "wide": "hypertelorism, widely spaced, wide set, wide spaced",
        "close": "hypotelorism, closely spaced, close set",
    },
    "prominence": {
        "out": "prominent, protruding, protrusion, protuberan*, bulging, exophthalm*, proptosis, everted, pectus "
        "carinatum, carinatum, evert*",
        "in": "sunken, depressed, retruded, deep set, recessed, enophthalm*, inverted, pectus excavatum, excavatum, "
        "invert*, retract*",
    },
    "pitch": {"high": "high pitched, high frequency", "low": "low pitched, low frequency"},
    "chain": {
        "short": "short chain, short term",
        "medium": "medium chain, medium",
        "long": "long chain, long term, very long chain",
    },
    "color": {
        "white": "white, leuko*, pale, pallor",
        "red": "red, erythro*, erythema*, erythematous",
        "blue": "blue, bluish, cyano*, cyanotic",
        "yellow": "yellow, xantho*, icteric",
        "black": "black, melan*",
        "brown": "brown",
        "green": "green",
    },
    "blood cell": {
        "red": "red blood cell, rbc, erythrocyt*",
        "white": "white blood cell, wbc, leukocyt*",
        "platelet": "platelet, thrombocyt*",
        "neutrophil": "neutrophil*, neutropen*",
        "lymphocyte": "lymphocyt*, lymphopen*",
        "eosinophil": "eosinophil*",
        "basophil": "basophil*",
        "monocyte": "monocyt*",
    },
    "T or B": {"T": "t cell, t lymphocyte", "B": "b cell, b lymphocyte", "NK": "nk cell, natural killer"},
    "antibody": {"IgG": "igg", "IgA": "iga", "IgM": "igm", "IgE": "ige", "IgD": "igd"},
    "Greek letter": {
        "alpha": "alpha",
        "beta": "beta",
        "gamma": "gamma",
        "delta": "delta",
        "kappa": "kappa",
        "lambda": "lambda",
    },
    "electrolyte": {
        "sodium": "sodium, *natremia",
        "potassium": "potassium, *kalemia",
        "calcium": "calcium, *calcemia, *calciuria",
        "magnesium": "magnesium, *magnesemia",
        "phosphate": "phosphate, phosphatemia, *phosphatemia",
        "chloride": "chloride, *chloremia",
        "glucose": "glucose, *glycemia, blood sugar",
    },
    "fluid": {
        "blood": "blood, serum, plasma, circulating, *acidemia",
        "urine": "urine, urinary, *aciduria",
        "cerebrospinal fluid": "csf, cerebrospinal fluid",
        "feces": "stool, fecal, feces",
        "saliva": "saliva, salivary",
        "sweat": "sweat",
    },
    "acid": {"acid": "acidosis, acidic, acidemia", "base": "alkalosis, alkaline, alkalemia"},
    "gram": {"positive": "gram positive", "negative": "gram negative"},
    "agent": {"bacterial": "bacterial", "viral": "viral", "fungal": "fungal"},
    "drug action": {"agonist": "agonist", "antagonist": "antagonist"},
    "drug that looks alike": {
        "hydralazine": "hydralazine",
        "hydroxyzine": "hydroxyzine",
        "epinephrine": "epinephrine, adrenaline",
        "norepinephrine": "norepinephrine, noradrenaline",
    },
    "limbs affected": {
        "one": "monoplegia, monoparesis",
        "half": "hemiplegia, hemiparesis",
        "legs": "paraplegia, paraparesis",
        "two": "diplegia",
        "all": "quadriplegia, tetraplegia, quadriparesis, tetraparesis",
    },
    "aware": {
        "aware": "aware, awareness retained, focal aware, simple partial",
        "impaired": "impaired awareness, complex partial",
    },
    "operation": {
        "removal": "*ectomy",
        "opening": "*ostomy",
        "cut": "*otomy",
        "view": "*oscopy",
        "repair": "*plasty",
    },
    "normality": {
        "normal": "normal, normally, unremarkable, healthy, 正常, within normal limit",
        "abnormal": "abnormal*, pathologic*, anomal*, malform*, 异常",
    },
    "presence": {
        "present": "present, presence, seen, visible, 存在",
        "absent": "absent, absence, missing, lack, lacking, aplasia, agenesis, failure of development, undeveloped, "
        "loss, 缺如",
    },
    "result": {"positive": "positive, positivity, 阳性", "negative": "negative, negativity, 阴性"},
    "enhancing": {"enhancing": "enhancing, enhancement", "not": "nonenhancing, non enhancing"},
    "small cell": {"small": "small cell", "not small": "non small cell, nonsmall cell"},
}
"""Aspect -> value -> its words. Two texts contradict each other in an aspect if both have values for it and none in
common; see STRICT."""

STRICT = frozenset({"side", "laterality", "height", "digit", "front and back", "plane"})
"""Aspects in which one additional value is another answer: "left upper and lower lobe" for "left upper lobe"."""

EXCEPT = (
    "hypochondri*, hypothalam*, hypophys*, hypoderm*, hypogastr*, hypogloss*, hypopharyn*, hypothenar, hypothes*, "
    "hypospad*, hyperop*, hypertel*, hypotel*, hypertropia, hypermetrop*, microscop*, microb*, microorganism*, "
    "macrophag*, macroglob*, macromolec*, phagocytosis, pinocytosis, histiocytosis, mastocytosis, hemophilia, "
    "basophilia, leukoenceph*, leukomal*, leukoplak*, leukodystroph*, leukem*, melaton*, erythropo*, polycythemia"
)
"""Words that match an entry with a `*` but do not have its value; such entries skip them."""

COMPLEMENTS: dict[str, dict[str, str]] = {
    "normality": {"normal": "abnormal", "abnormal": "normal"},
    "presence": {"present": "absent", "absent": "present"},
    "result": {"positive": "negative", "negative": "positive"},
    "nature": {"benign": "malignant", "malignant": "benign"},
    "symmetry": {"even": "uneven", "uneven": "even"},
    "typical": {"typical": "atypical", "atypical": "typical"},
    "regular": {"regular": "irregular", "irregular": "regular"},
    "stable": {"stable": "unstable", "unstable": "stable"},
    "activity": {"active": "inactive", "inactive": "active"},
    "enhancing": {"enhancing": "not", "not": "enhancing"},
}
"""Aspects with two complementary values: to deny one is to affirm the other ("not malignant" is benign)."""

LACK: dict[str, frozenset[str]] = {
    "presence": frozenset({"absent"}),
    "result": frozenset({"negative"}),
    "amount": frozenset({"less", "none"}),
    "development": frozenset({"none", "less"}),
    "normality": frozenset({"normal"}),
    "enhancing": frozenset({"not"}),
    "activity": frozenset({"inactive"}),
}
"""Values that express absence without a negation; another text may use a negation: "hair loss" and "no hair"."""
