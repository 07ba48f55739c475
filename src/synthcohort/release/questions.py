"""What only a person can answer: each question once, with the answers that an answers file gives, or visibly open."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthcohort.core.config import load_toml
from synthcohort.core.errors import ConfigError, Problem
from synthcohort.release.decision import Decision


@dataclass(frozen=True)
class Question:
    """One question; `who` says whose answer counts."""

    key: str
    text: str
    who: str  # "owner" or "counsel"
    topic: str


QUESTIONS = (
    Question("license", "Under which license may the images be used?", "owner", "use"),
    Question("intended_use", "What are the images meant to be used for?", "owner", "use"),
    Question("not_intended_for", "What must they not be used for?", "owner", "use"),
    Question("contact", "Who answers questions about the images?", "owner", "use"),
    Question("motivation", "For what purpose was the data set made, and who asked for it?", "owner", "origin"),
    Question("funding", "Who paid for it?", "owner", "origin"),
    Question("source_description", "Where, when and from whom were the real images collected?", "owner", "origin"),
    Question("inclusion", "Which patients were included in the real data, and which were left out?", "owner", "origin"),
    Question("label_source", "Who gave the labels of the real images, and by which rule?", "owner", "origin"),
    Question("attributes_source", "How were sex, age and ethnicity recorded: reported, observed or inferred?", "owner",
             "origin"),
    Question("social_determinants", "Which social factors of the patients are known, and which are not?", "owner",
             "origin"),
    Question("known_bias", "Which groups are known to be missing or misjudged in the real data?", "owner", "origin"),
    Question("ethics_approval", "Which board approved the use of the real images, under which number?", "owner",
             "ethics"),
    Question("consent", "On what basis were the real images used: consent, waiver or another?", "owner", "ethics"),
    Question("patients_involved", "Were patients or the public asked, and what did they say?", "owner", "ethics"),
    Question("harms", "Whom could a misuse of the images harm, and how is that prevented?", "owner", "ethics"),
    Question("maintenance", "Who corrects errors, for how long, and how are users told?", "owner", "upkeep"),
    Question("erratum", "Is there a place where errors are published?", "owner", "upkeep"),
    Question("withdrawal", "What happens to the images when a patient withdraws?", "owner", "upkeep"),
    Question("gdpr_anonymous", "Are the images anonymous information under GDPR, recital 26?", "counsel", "law"),
    Question("gdpr_basis", "On which legal basis was the generator trained on the patients’ images?", "counsel", "law"),
    Question("weights_personal", "Do the generator’s weights count as personal data, and may they leave?", "counsel",
             "law"),
    Question("hipaa_path", "By which of HIPAA’s two paths is the data de-identified, and who determined it?", "counsel",
             "law"),
    Question("liability", "Who is liable for what is built with the images?", "counsel", "law"),
    Question("ai_act_role", "Who is the provider in the sense of the EU AI Act, and do its duties apply?", "counsel",
             "law"),
    Question("device_use", "Is a use as evidence for a medical device foreseen, and was the authority asked?",
             "counsel", "law"),
)  # fmt: skip
KEYS = tuple(question.key for question in QUESTIONS)


def read_answers(path: Path) -> dict[str, str]:
    """An answers file: TOML with one text for each key. Raises ConfigError naming every key that is no question."""
    content = load_toml(path)
    problems = []
    for key, value in content.items():
        if key not in KEYS:
            problems.append(Problem(f"answers {path}: {key}", "is no question", ", ".join(KEYS)))
        elif not isinstance(value, str) or len(value) > 4000:
            problems.append(Problem(f"answers {path}: {key}", "is no text of up to 4,000 characters"))
    if problems:
        raise ConfigError(*problems)
    return {key: value.strip() for key, value in content.items() if value.strip()}


def answered(decision: Decision) -> dict[str, str | None]:
    """Every question's answer, None where it is open."""
    given = {**decision.answers, **{key: text for key, text in decision.statement.items() if text}}
    return {key: given.get(key) for key in KEYS}


def template(answers: Mapping[str, str | None]) -> str:
    """A TOML file with every question: fill in what is open and give it to release with --answers."""
    lines = ["# Fill in what only a person can answer, and give the file to: synthcohort release --answers FILE", ""]
    for question in QUESTIONS:
        text = json.dumps(answers.get(question.key) or "", ensure_ascii=False)  # a JSON text is a TOML text too
        lines += [f"# {question.text} ({question.who})", f"{question.key} = {text}", ""]
    return "\n".join(lines)
