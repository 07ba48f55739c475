"""Teaching: which image a learner sees next. Clear cases first, what was missed again, and later what was known.

Words: a *box* is how often in a row an image was answered as expected; the fuller the box, the later it comes again
(Leitner 1972). A *level* is how many classes are in play: the two ends of an ordinal label first, then the middle,
then all. Levels follow from the answers alone, so a learner's place needs no store of its own.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthcohort.core.seeds import rng
from synthcohort.study.access import keyed, note
from synthcohort.study.reading import PhaseFacts
from synthcohort.study.store import Store, Taken

GAPS = (2, 5, 12, 30, 80)  # images in between, by box
UP_AFTER, UP_SHARE = 8, 0.75  # a level is passed with so many of its last answers as expected


@dataclass(frozen=True)
class Seen:
    """One answer of a learner, in the order given."""

    image: int
    label: str
    right: bool


@dataclass(frozen=True)
class Standing:
    """Where a learner is: level from 1, boxes and places in the order at which images are due."""

    level: int
    boxes: Mapping[int, int]
    due: Mapping[int, int]
    count: int

    @property
    def num_due(self) -> int:
        """Images that were missed, or whose time to be asked again has come."""
        return sum(self.boxes[image] == 0 or place <= self.count for image, place in self.due.items())


def levels(classes: Sequence[str], ordered: bool) -> list[list[str]]:
    """The classes of each level, easy to hard: grades far apart are easier to tell than neighbors."""
    if not ordered or len(classes) <= 2:
        return [list(classes)]
    found = [[classes[0], classes[-1]]]
    if len(classes) > 3:
        found.append([classes[0], classes[len(classes) // 2], classes[-1]])
    return [*found, list(classes)]


def standing(history: Sequence[Seen], num_levels: int) -> Standing:
    """Boxes, due places and level after these answers."""
    boxes: dict[int, int] = {}
    due: dict[int, int] = {}
    level, recent = 1, []
    for place, seen in enumerate(history, 1):
        boxes[seen.image] = min(boxes.get(seen.image, 0) + 1, len(GAPS) - 1) if seen.right else 0
        due[seen.image] = place + GAPS[boxes[seen.image]]
        recent.append(seen.right)
        if level < num_levels and len(recent) >= UP_AFTER and sum(recent[-UP_AFTER:]) >= UP_SHARE * UP_AFTER:
            level, recent = level + 1, []
    return Standing(level, boxes, due, len(history))


def next_image(images: Mapping[int, str], history: Sequence[Seen], steps: Sequence[Sequence[str]], who: str) -> int:
    """The image to show: what is due, else a new one of the rarest class so far, else what is due soonest.

    `images` maps each image to its label. The one just seen does not come twice in a row where there is another.
    """
    now = standing(history, len(steps))
    last = history[-1].image if history and len(images) > 1 else None
    waiting = sorted((place, image) for image, place in now.due.items() if image != last)
    if waiting and waiting[0][0] <= now.count:
        return waiting[0][1]
    allowed = set(steps[now.level - 1])
    shown: dict[str, int] = dict.fromkeys(allowed, 0)
    for seen in history:
        if seen.label in shown:
            shown[seen.label] += 1
    fresh = [image for image, label in images.items() if image not in now.boxes and label in allowed]
    if fresh:
        draw = rng("study quiz", who, len(history))
        mixed = [fresh[i] for i in draw.permutation(len(fresh))]
        return min(mixed, key=lambda image: shown[images[image]])
    return waiting[0][1] if waiting else next(iter(images))


def new_learner(store: Store, now: float) -> str:
    """A learner without a name; the course's link makes one for each who opens it."""
    name = f"learner-{secrets.token_hex(5)}"
    with store.writing() as write:
        write.add("people", person=name, role="learner", generation=0)
        note(write, now, name, "joined the course")
    return name


def images_of(store: Store) -> dict[int, str]:
    """The images that may be shown to learners: synthetic ones, whatever else the tables hold."""
    rows = store.rows("SELECT image, label FROM images WHERE origin = ? ORDER BY image", "synthetic")
    return {row["image"]: row["label"] for row in rows}


def history_of(store: Store, learner: str) -> list[Seen]:
    rows = store.rows(
        "SELECT i.image, g.label, a.body FROM items i JOIN answers a ON a.item = i.item AND a.revision = 0 "
        "JOIN images g ON g.image = i.image WHERE i.person = ? ORDER BY i.position",
        learner,
    )
    return [Seen(row["image"], row["label"], json.loads(row["body"])["answer"] == row["label"]) for row in rows]


def present_item(store: Store, secret: str, phase: PhaseFacts, learner: str) -> dict[str, Any]:
    """The learner's open item, made when there is none."""
    for _ in range(3):  # two windows at once: the second finds what the first made
        found = store.one(
            "SELECT i.* FROM items i LEFT JOIN answers a ON a.item = i.item "
            "WHERE i.person = ? AND a.item IS NULL ORDER BY i.position LIMIT 1",
            learner,
        )
        if found is not None:
            return found
        history, images = history_of(store, learner), images_of(store)
        classes = [option.value for option in phase.questions[0].options]
        present = [name for name in classes if name in set(images.values())]
        image = next_image(images, history, levels(present, phase.ordered), learner)
        position = len(history)
        item = keyed(secret, "item", learner, phase.number, position)
        try:
            with store.writing() as write:
                write.add(
                    "items", item=item, person=learner, phase=phase.number, position=position, training=0, again=0,
                    image=image, other=None,
                )  # fmt: skip
        except Taken:
            continue
    raise RuntimeError("no item could be made")


def save_quiz(store: Store, item: str, body: dict[str, str], active_ms: int, now: float) -> None:
    """Adds the answer; the first one counts."""
    store.run(
        "INSERT INTO answers (item, revision, body, active_ms, at) VALUES (?, 0, ?, ?, ?) ON CONFLICT DO NOTHING",
        item,
        json.dumps(body, sort_keys=True),
        active_ms,
        now,
    )
