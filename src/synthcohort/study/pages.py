"""The study's pages as HTML. What is told to a reader is chosen here, and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthcohort.pages.render import render
from synthcohort.study.questions import Question

PHASE_WORDS = {
    "grade": "Read each image as you would in practice, and give your reading. There is no time limit.",
    "origin": (
        "Some of the images come from patients, others were made by a computer program: these are synthetic. "
        "Say for each which of the two it is. There may be more of one kind than of the other."
    ),
    "rate": "Each image comes with a few words. Say how well it shows them, and how real it looks.",
    "pairs": "Two images stand side by side. One comes from a patient, the other was made by a program. "
    "Say which of them is the real one.",
}
FINGERS = (
    "With fingers: drag moves the image, two fingers zoom. While the button for contrast is on, dragging sideways "
    "changes contrast, up and down brightness."
)
# Consent promises the study's purpose at the end; until then it stands on no page of an unaware reader.
PURPOSE = (
    "Some of the images were synthetic: made by a computer program that had learned from images of patients, and of no "
    "patient themselves. The study asks whether experts read such images as they read real ones, and whether they can "
    "tell the two apart. Nobody's skill is judged."
)


def message_page(
    title: str, heading: str, words: Sequence[str], *, action: str = "", button: str = "", csrf: str = "",
    link: tuple[str, str] | None = None, listed: Sequence[str] = (), leave: bool = False, focus: bool = True,
) -> str:  # fmt: skip
    """A page with a few sentences and perhaps one button; with `focus` Enter presses it.

    `listed`: what keys do; screens for fingers alone leave it out.
    """
    return render(
        "study_message.html", title=title, heading=heading, words=words, action=action, button=button, csrf=csrf,
        link=link, listed=listed, fingers=FINGERS, leave=leave, focus=focus,
    )  # fmt: skip


def case_page(
    title: str, *, item: Mapping[str, Any], asked: Sequence[Question], recipe: Mapping[str, Any], csrf: str,
    done: int, every: int, caption: str = "", chosen: Mapping[str, str] | None = None, revision: int = 0,
    truth: str | None = None, problem: str = "", ahead: str = "", back: bool = False, training: bool = False,
    action: str = "", next_action: str = "/", progress_link: str = "",
) -> str:  # fmt: skip
    """An image, or two, with the questions; with `truth` the answer is shown and nothing can be changed."""
    sides = ["a", "b"] if item["other"] is not None else ["a"]
    return render(
        "study_case.html", title=title, item=item["item"], sides=sides, asked=asked, recipe=recipe, csrf=csrf,
        done=done, every=every, caption=caption, chosen=chosen or {}, revision=revision, truth=truth,
        problem=problem, ahead=ahead, back=back, training=training, action=action or f"/answer/{item['item']}",
        next_action=next_action, progress_link=progress_link, expected=_text_of,
    )  # fmt: skip


def _text_of(asked: Sequence[Question], value: str) -> str:
    """The words of an option of the first question."""
    return next((option.text for option in asked[0].options if option.value == value), value)
