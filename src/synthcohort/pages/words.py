"""The plain words of the reports: what each check asks, what each group of scores is for, what a term means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One of the seven gating checks, as a question a reader would ask."""

    name: str
    title: str
    question: str
    measured: str  # how it is measured, in a sentence


FAMILIES = (
    Family(
        "copies",
        "Copies",
        "Is any image a copy of a real patient’s image?",
        "Each synthetic image is compared with the nearest image the generator learned from. Real images of patients "
        "it never "
        "saw show how near two different patients come by chance.",
    ),
    Family(
        "membership",
        "Membership",
        "Can an outsider tell whose images the generator learned from?",
        "An attacker guesses for known images whether they were used for training (membership inference).",
    ),
    Family(
        "label_truth",
        "True labels",
        "Do the images show what their labels say?",
        "A grader trained on real images reads the synthetic ones, and its readings are compared with their labels.",
    ),
    Family(
        "image_damage",
        "Undamaged images",
        "Are the images free of technical damage?",
        "Noise, blur, clipping, repeated patterns and missing gray values are measured against real images.",
    ),
    Family(
        "coverage",
        "Variety",
        "Do the images show the variety of the real ones?",
        "The share of real images that have a synthetic neighbor is compared with the share that has a real one.",
    ),
    Family(
        "subgroups",
        "Groups of patients",
        "Are all groups of patients represented equally well?",
        "The checks are repeated within each group (sex, age, site) and the spread between the groups is measured.",
    ),
    Family(
        "harm",
        "No harm in use",
        "Does training with these images leave no class or group worse off?",
        "A model trained with synthetic images is compared with one trained on real images only, class by class, on "
        "real test "
        "patients.",
    ),
)

VERDICTS = {
    "pass": ("Pass", "✓"),
    "fail": ("Fail", "✕"),
    "inconclusive": ("Inconclusive", "?"),
}


@dataclass(frozen=True)
class Group:
    """A chapter of scores."""

    name: str
    title: str
    lead: str


GROUPS = (
    Group(
        "privacy",
        "Privacy: how near do the images come to real patients?",
        "The first question of any release. A synthetic image must not lie nearer to a patient the generator learned "
        "from than "
        "the images of an unrelated patient do. The control in these figures is just that: patients who were set "
        "aside and never "
        "shown to the generator.",
    ),
    Group(
        "utility",
        "Usefulness: do models that learn from the images work on real patients?",
        "A small model is trained on synthetic images alone and tested on real patients. The same model trained on "
        "as many real images is the floor, which it has to match. Figures called “lost” come from a second experiment "
        "with more and other models, on which the check for harm rests: they count what a class loses, so less is "
        "better, and 0 is no loss.",
    ),
    Group(
        "fidelity",
        "Fidelity: do the images look like the real ones?",
        "Distances between the two sets of images, taken through the eyes of an image network (an encoder). "
        "Distances from different encoders can’t be compared with each other, and each is blind to what another sees: "
        "read all of them. Two sets of real images also differ: that is the floor.",
    ),
    Group(
        "alignment",
        "Alignment: do the images show what was asked for?",
        "Each image was asked for with a label. A grader that learned from real images reads the label back. It errs "
        "on real images too: that is the floor. Far above the floor is no gain: such images are plainer than patients "
        "are. Where the grader fails on real images as well, its reading says nothing.",
    ),
    Group(
        "fairness",
        "Fairness: are all groups of patients served equally?",
        "The figures are computed again within each group of patients (sex, age, site). A group that is missing, or "
        "drawn worse than the others, would lose from these images what the others gain.",
    ),
    Group(
        "readers",
        "Readers: what experts saw",
        "Experts graded images without knowing that some are synthetic, or said which of them are. The figures are "
        "means of all readers; where the same readers read real images too, these are the floor.",
    ),
    Group(
        "stress",
        "Stress: where do models that meet the images break?",
        "What a classifier learns when a rare class is filled with synthetic images only, and how far exposure, noise "
        "and blur can go before a classifier fails. Real images treated in the same way are the floor: a test on "
        "synthetic images is of use where both fail at the same point.",
    ),
)

# How a reader may think of an encoder that only the settings name.
ENCODERS = {
    "self_trained": "a network that learned to read the label from the real training images",
    "self_supervised": "a network that learned from the real training images without their labels",
    "packaged": "a network that learned from everyday photographs",
    "radiomic": "measurements of gray values and texture, no network",
}

PROBES = {"reidentification": "Re-identification"}  # figures with a verdict of their own, beside the seven checks
PROBED = {"reidentified_rate": "reidentification"}  # the score that shows each


@dataclass(frozen=True)
class Together:
    """Figures of one kind that share a scale and a sentence: rows of one table instead of a table each."""

    name: str
    title: str
    prefixes: tuple[str, ...]
    dropped: str = ""  # words of the single titles that the common one says


TOGETHER = (
    Together("damage_shift", "Damage to the images as a whole", ("damage_shift_",), " as a whole"),
    Together(
        "utility",
        "A model that learned from synthetic images, on real patients",
        ("utility_accuracy", "utility_macro_recall", "utility_skill"),
        " after training on synthetic",
    ),
)

GLOSSARY = (
    ("Cohort", "A set of images with their records: here the synthetic one, and the real one it was learned from."),
    (
        "Synthetic image",
        "An image computed by a generator. It is not a recording of anybody, although the generator "
        "learned from recordings.",
    ),
    ("Generator", "The computer model that draws the images. It learned from the real training images only."),
    (
        "95 % interval",
        "The range in which the figure would be expected to fall if the same comparison were repeated "
        "with other images of the same kind. Wide means: too few images to be sure.",
    ),
    (
        "Floor (real against real)",
        "The same figure with real images in place of the synthetic ones. No synthetic set "
        "should "
        "be expected to do better.",
    ),
    (
        "Control",
        "The same figure computed for real patients that the generator never saw, offered as if they were synthetic.",
    ),
    (
        "Training, validation, control and test patients",
        "The four roles. Training patients taught the generator; "
        "validation patients served every choice; control patients "
        "serve the privacy floor only; test patients are used once "
        "for the scores.",
    ),
    (
        "Encoder",
        "An image network that turns an image into a list of numbers (features), so that images can be compared.",
    ),
    (
        "Fréchet distance",
        "A distance between two sets of images in an encoder’s features: mean and spread are "
        "compared. 0 is identical. Known as FID when one particular encoder is used; other encoders "
        "give other figures.",
    ),
    (
        "Kernel distance (KID, MMD)",
        "Another distance between two sets of features. Unlike the Fréchet distance it "
        "does not depend on the number of images.",
    ),
    (
        "Precision, recall, density, coverage",
        "Shares of images that have a near neighbor in the other set. Precision "
        "and density: are the synthetic images realistic? Recall and coverage: "
        "is the variety of the real ones reached?",
    ),
    (
        "Quadratic κ (kappa)",
        "Agreement of two gradings beyond chance, counting a larger disagreement more. 1 is perfect, 0 is chance.",
    ),
    ("Membership inference", "The attempt to find out whether a known image was among the training images."),
    (
        "Black-box, white-box",
        "An attacker who has the images only (black-box), or the generator itself (white-box).",
    ),
    (
        "Area (AUC)",
        "How often, of one image of each kind, the right one is picked. 0.5 is guessing, 1 is always right.",
    ),
    (
        "Recall of a class (sensitivity)",
        "In the chapters on usefulness, alignment and stress: the share of a class’s real images that a model "
        "recognizes. Mean recall counts every class alike, however rare. Not the recall of two sets of images above.",
    ),
    ("Probe", "A simple model on fixed features of the images, quick to train and hard to mislead."),
    ("Radiomics", "Measurements of gray values and texture, as software for radiologists takes them."),
    ("Stop", "A step of exposure: one stop more doubles the light, one stop less halves it."),
    ("Vendi score", "How many images that have nothing in common would be as varied as these."),
    ("Inconclusive", "There was not enough evidence, or the check was not made. It is never read as a pass."),
    ("Digest", "A fingerprint (SHA-256) of a file. If one byte changes, the digest changes."),
    ("Policy", "The written thresholds by which evidence is judged and released."),
    (
        "Policy line",
        "One threshold of the policy. A check is judged from all its figures together, at levels so strict that seven "
        "checks rarely fail by chance; a single figure beyond its line need not fail the check.",
    ),
    ("Seed", "The number from which an image was drawn. The same generator and seed give the same image again."),
)
