"""The methods paragraph for a paper, from what the study was and what was computed; no word about results."""

from importlib import metadata
from typing import Any

from synthcohort.study.questions import spelled

KIND_WORDS = {
    "grade": "graded {label} of each image{blind}",
    "origin": "said of each image whether it is real or synthetic",
    "rate": "rated how well each image shows its words and how real it looks, from 1 to 5",
    "pairs": "chose the real one of two images",
}


def methods_text(content: dict[str, Any], design: dict[str, Any]) -> str:
    """A paragraph a phase, one on the sample, one on the statistics."""
    parts = [_sample(content, design)]
    kinds = [phase["kind"] for phase in content["phases"]]
    for number, phase in enumerate(content["phases"]):
        parts.append(_phase(number, phase, design["phases"][number], unaware=_unaware(kinds, number)))
    parts.append(_statistics(content, design))
    return "\n\n".join(parts)


def _unaware(kinds: list[str], number: int) -> bool:
    return not any(kind in ("origin", "pairs") for kind in kinds[: number + 1])


def _sample(content: dict[str, Any], design: dict[str, Any]) -> str:
    images = design["images"]
    return (
        f"Real images were drawn at random (seed {content['seed']}) from the {design['real_split']} patients, one "
        "image a patient, and synthetic images in equal numbers from the synthetic cohort, both balanced over the "
        "classes. Every image was brought to one size, one number of gray levels and one file size by the same steps "
        f"(gray values {'rescaled to their own percentiles' if images['intensity'] == 'rescale' else 'kept'}), and "
        "shown at 16 bits in a browser with zoom, contrast and brightness. Each reader saw the cases in a random order "
        "of their own."
    )


def _phase(number: int, phase: dict[str, Any], asked: dict[str, Any], unaware: bool) -> str:
    blind = ", unaware that synthetic images were among them," if unaware else ""
    what = KIND_WORDS[phase["kind"]].format(label=spelled(phase["label"]), blind=blind)
    counts = ", ".join(f"{count} {origin}" for origin, count in sorted(phase["cases"].items()))
    counts = counts or f"{phase['pairs']} pairs"
    sure = (
        f" with confidence on {asked['confidence']} levels" if asked["confidence"] and phase["kind"] != "rate" else ""
    )
    training, repeats = asked["training"], asked["repeats"]
    more = [f"{training} practice case{'' if training == 1 else 's'} came first"] if training else []
    if repeats:
        more.append("1 case was shown twice" if repeats == 1 else f"{repeats} cases were shown twice")
    if asked["washout_days"]:
        more.append(f"at least {asked['washout_days']:g} days after the part before")
    left = f"; {len(phase['unfinished'])} more did not finish and are left out" if phase["unfinished"] else ""
    text = f"Part {number + 1}: {_readers(len(phase['readers']))} {what}{sure} ({counts} cases{left})"
    return text + (f"; {'; '.join(more)}." if more else ".")


def _readers(count: int) -> str:
    return "1 reader" if count == 1 else f"{count} readers"


def _statistics(content: dict[str, Any], design: dict[str, Any]) -> str:
    words = [
        "Figures of all readers are means over readers with 95 % intervals after Obuchowski and Rockette (covariances "
        "by the jackknife, degrees of freedom after Hillis), so that they hold for other readers and other cases; with "
        "one reader, for other cases. Shares of one reader have Wilson intervals."
    ]
    kinds = {phase["kind"] for phase in content["phases"]}
    if "grade" in kinds:
        words.append(
            "Agreement is given as weighted κ (quadratic for ordinal grades), Fleiss’ κ, Krippendorff’s α and "
            "ICC(2,1), with jackknife intervals over cases on Fisher’s z scale. Right grades on real and synthetic "
            f"images count as equivalent when two one-sided tests at 5 % show a difference below {content['margin']:g}."
        )
    if "origin" in kinds:
        words.append(
            "d′ uses rates with half a case added; ROC curves of answer and confidence are empirical (Mann and "
            "Whitney) and binormal (greatest likelihood). Telling apart counts as shown to be no better than chance, "
            f"for what matters, when two one-sided tests at 5 % show an area within {content['margin']:g} of 0.5."
        )
    if not content["closed"]:
        words.append("This analysis was made before the study was closed.")
    return " ".join(words) + f" SynthCohort {metadata.version('synthcohort')}."
