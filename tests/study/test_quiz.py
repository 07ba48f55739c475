from collections import Counter
from itertools import pairwise

import pytest

from synthcohort.study.design import Design, Phase
from synthcohort.study.quiz import GAPS, Seen, levels, next_image, standing

QUIZ = Design(
    title="Grading knees",
    teaching=True,
    phases=(Phase("grade", label="kl_grade", real=0, synthetic=12, training=0, confidence=0),),
)
IMAGES = {i: str(i % 5) for i in range(40)}
STEPS = levels(["0", "1", "2", "3", "4"], ordered=True)


def play(right, count: int) -> list[Seen]:
    history: list[Seen] = []
    for _ in range(count):
        image = next_image(IMAGES, history, STEPS, "learner-x")
        history.append(Seen(image, IMAGES[image], right(image, history)))
    return history


def test_grades_far_apart_come_first():
    assert STEPS == [["0", "4"], ["0", "2", "4"], ["0", "1", "2", "3", "4"]]
    assert levels(["a", "b", "c"], ordered=False) == [["a", "b", "c"]]
    history = play(lambda image, history: True, 40)
    assert {seen.label for seen in history[:8]} == {"0", "4"}
    assert {seen.label for seen in history[:16]} == {"0", "2", "4"}
    assert {seen.label for seen in history} == set("01234")


def test_who_guesses_stays_at_the_first_level():
    history = play(lambda image, history: len(history) % 2 == 0, 40)
    assert {seen.label for seen in history} == {"0", "4"}
    assert standing(history, len(STEPS)).level == 1


def test_what_was_missed_comes_again_soon_and_what_was_known_later():
    missed = 8  # whichever image comes ninth is missed once
    history = play(lambda image, history: len(history) != missed, 30)
    image = history[missed].image
    again = [place for place, seen in enumerate(history) if seen.image == image and place > missed]
    assert again[0] - missed <= GAPS[0] + 2
    assert again[1] - again[0] >= GAPS[1]


def test_no_image_twice_in_a_row_and_classes_stay_balanced():
    history = play(lambda image, history: True, 60)
    assert all(a.image != b.image for a, b in pairwise(history))
    fresh = Counter(seen.label for seen in {s.image: s for s in history[16:]}.values())
    assert max(fresh.values()) <= 8


def test_a_course_in_the_browser(make, tools):
    served = make(QUIZ)
    client = served.browser("course")
    assert "of no patient" in client.get("/quiz/progress").text
    right = 0
    for _ in range(6):
        page = client.get("/quiz")
        item = tools.item_on(page.text)
        assert client.get(f"/image/{item}/a").status_code == 200
        assert client.get(f"/quiz/feedback/{item}").status_code == 404  # not before the answer
        done = tools.press(client, page.text, f"/quiz/answer/{item}", answer="0")
        assert "/quiz/feedback/" in str(done.url)
        right += "As expected." in done.text
        changed = tools.press(client, page.text, f"/quiz/answer/{item}", answer="2")
        assert ("As expected." in changed.text) == ("As expected." in done.text)  # the first answer counts
    progress = client.get("/quiz/progress").text
    assert f"<strong>{round(100 * right / 6)} %</strong>" in progress
    other = served.browser("course")
    assert tools.item_on(other.get("/quiz").text) != item
    assert other.get(f"/image/{item}/a").status_code == 404


def test_learners_are_shown_synthetic_images_only(make):
    served = make(QUIZ)
    assert {row["origin"] for row in served.store.rows("SELECT origin FROM images")} == {"synthetic"}


@pytest.mark.parametrize("path", ["/quiz", "/quiz/progress", "/quiz/feedback/x"])
def test_a_reader_study_has_no_quiz(served, path):
    assert served.browser("anna-code").get(path).status_code == 404
