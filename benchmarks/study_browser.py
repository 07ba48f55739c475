"""A two-phase study, every other kind of page, and a quiz, in headless Chromium against a real server.

By keyboard alone as one reader, with a mouse as another; screenshots of every page at desktop, tablet and phone size;
with --axe (axe.min.js of the npm package axe-core) every page is checked for accessibility. Anything wrong ends with 1.

    python benchmarks/study_browser.py --out runs/study-browser [--axe axe.min.js] [--chromium /usr/bin/chromium]
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from playwright.sync_api import Page, sync_playwright
from study_people import phantom_cohort

from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase

SIZES = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}
DESIGN = Design(
    title="Knee radiographs",
    phases=(
        Phase("grade", label="kl_grade", real=5, synthetic=5, degraded=1, repeats=2, training=2),
        Phase("origin", label="kl_grade", real=4, synthetic=4, training=2),
        Phase("rate", label="kl_grade", real=2, synthetic=2, training=0),
        Phase("pairs", label="kl_grade", real=3, synthetic=3, training=1),
    ),
    readers=("keys", "mouse"),
    observers=("watcher",),
)
QUIZ = Design(
    title="Grading knees", teaching=True,
    phases=(Phase("grade", label="kl_grade", real=0, synthetic=30, training=0, confidence=0),),
)  # fmt: skip
problems: list[str] = []


@contextmanager
def serving(study: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "synthcohort", "study", "serve", str(study), "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


class Looker:
    """A page that notes what the browser complains about, takes pictures and checks accessibility."""

    def __init__(self, browser: Any, out: Path, size: str, axe: str):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=size != "desktop")
        context.set_default_timeout(120_000)  # machines that do other work
        self.page: Page = context.new_page()
        self._out, self._size, self._axe, self._context = out, size, axe, context
        self._seen: set[str] = set()
        self.page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("pageerror", lambda e: problems.append(f"script: {e}"))

    def look(self, name: str) -> None:
        """Once for each name."""
        if name in self._seen:
            return
        self._seen.add(name)
        self.ready()
        self.page.screenshot(path=self._out / f"{name}-{self._size}.png")
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            problems.append(f"{name}, {self._size}: {wide} px wider than the screen")
        if self._axe:
            self.page.evaluate(self._axe)  # through the debugger, which the page's policy does not bind
            found = self.page.evaluate(
                "axe.run().then(r => r.violations.map("
                "v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 120)]))"
            )
            for violation in found:
                problems.append(f"axe {name}, {self._size}: {violation}")

    def ready(self) -> None:
        for canvas in self.page.locator("canvas[data-image]").all():
            canvas.wait_for()
        self.page.wait_for_function(
            "[...document.querySelectorAll('canvas[data-image]')].every(c => c.dataset.ready === 'yes')"
        )

    def close(self) -> None:
        self._context.close()


def kind_of(page: Page) -> str:
    return page.evaluate(
        "(() => { const f = [...document.querySelectorAll('fieldset')].map(x => x.dataset.question).join(); "
        "const t = (document.querySelector('input[name=answer]') || {}).value; "
        "if (f.includes('alignment')) return 'rate'; if (t === 'left') return 'pairs'; "
        "return t === 'real' ? 'origin' : 'grade'; })()"
    )


def enter(page: Page) -> None:
    """Enter, and the page it leads to; where a button has the focus from the start, once it has it."""
    if page.get_by_role("button", name="I agree").count():
        page.keyboard.press("Tab")  # consent wants one step more
    if page.locator("[autofocus]").count():
        page.wait_for_function("document.activeElement !== document.body")
    with page.expect_navigation():
        page.keyboard.press("Enter")


KEYS = {"grade": ["3", "4"], "origin": ["s", "2"], "rate": ["4", "5"], "pairs": ["l", "1"]}


def by_keyboard(looker: Looker, link: str) -> int:
    """The whole study without a pointer; returns the number of answers."""
    page, answers = looker.page, 0
    page.goto(link)
    looker.look("join")
    enter(page)
    corrected = False
    while True:
        if page.locator("canvas").count():
            looker.ready()
            kind = kind_of(page)
            if page.locator("#next").count():
                looker.look(f"feedback-{kind}")
                enter(page)
                continue
            practice = page.locator(".tag", has_text="Practice").count() > 0
            looker.look(f"case-{kind}{'-practice' if practice else ''}")
            if answers == 3 and not corrected:
                try_view_keys(page)
                page.keyboard.press("Backspace")
                page.wait_for_url("**/back")
                looker.look("correction")
                corrected = True
            for key in KEYS[kind]:
                page.keyboard.press(key)
            looker.look(f"chosen-{kind}")
            enter(page)
            answers += 1
        elif page.locator("main.message form[action='/step']").count():
            heading = page.locator("h1").inner_text()
            looker.look("consent" if "Before" in heading else "part-" + heading.split()[1])
            enter(page)
        else:
            looker.look("done")
            return answers


def try_view_keys(page: Page) -> None:
    """Every key of the view changes the picture, and Home brings it back."""
    shot = lambda: page.locator("canvas").first.evaluate("c => c.toDataURL()")  # noqa: E731
    first = shot()
    for key in ("+", "-", "ArrowLeft", "ArrowUp", "[", "]", ",", ".", "i"):
        before = shot()
        page.keyboard.press(key)
        if shot() == before:
            problems.append(f"key {key} does not change the image")
    page.keyboard.press("Home")
    if shot() != first:
        problems.append("Home does not reset the view")
    checked = page.locator("input:checked").count()
    if checked:
        problems.append("keys of the view chose an answer")


def by_mouse(looker: Looker, link: str, cases: int) -> None:
    page = looker.page
    page.goto(link)
    page.get_by_role("button").first.click()
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("button", name="Start").click()
    for number in range(cases):
        looker.ready()
        box = page.locator("canvas").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.wheel(0, -400)
        page.mouse.down()
        page.mouse.move(box["x"] + 260, box["y"] + 240)
        page.mouse.up()
        if number == 0:
            looker.look("zoomed")
            page.keyboard.press("?")  # screens for fingers alone have no button for it
            looker.look("keys")
            page.locator("#save").click()  # without an answer: the browser asks for one
            if "/feedback/" in page.url:
                problems.append("an empty answer was taken")
        for group in page.locator("fieldset").all():
            group.locator("label").nth(2).click()
        with page.expect_navigation():
            page.locator("#save").click()
        if page.locator("#next").count():
            looker.ready()
            with page.expect_navigation():
                page.locator("#next").click()


def learn(looker: Looker, link: str, count: int) -> None:
    page = looker.page
    page.goto(link)
    enter(page)
    looker.look("quiz-welcome")
    enter(page)
    for number in range(count):
        page.wait_for_url("**/quiz")
        looker.ready()
        looker.look("quiz-case")
        page.keyboard.press("0" if number % 2 else "4")
        enter(page)
        looker.ready()
        wrong = page.locator(".verdict.bad").count()
        looker.look("quiz-missed" if wrong else "quiz-right")
        enter(page)
    page.wait_for_url("**/quiz")
    page.get_by_role("link", name="Progress").click()
    looker.look("quiz-progress")


def links(study: Path, base: str) -> dict[str, str]:
    lines = (study / "invitations.txt").read_text().splitlines()
    return {name: base + path for name, path in (line.split("\t") for line in lines)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--only", choices=tuple(SIZES), default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    axe = args.axe.read_text() if args.axe else ""
    real = phantom_cohort(args.out / "real", "real", 60, args.size)
    made = phantom_cohort(args.out / "synthetic", "synthetic", 60, args.size)
    stamp = str(int(time.time()))
    for size in [args.only] if args.only else SIZES:
        study, quiz = args.out / f"study-{size}-{stamp}", args.out / f"quiz-{size}-{stamp}"
        create(made.path, study, DESIGN, real.path)
        create(made.path, quiz, QUIZ)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=args.chromium, args=["--no-sandbox", "--disable-gpu"])
            with serving(study) as base:
                own = links(study, base)
                looker = Looker(browser, args.out, size, axe)
                answers = by_keyboard(looker, own["keys"])
                looker.close()
                expected = 15 + 10 + 4 + 4 + 1  # one correction
                if answers != expected:
                    problems.append(f"{answers} answers by keyboard, expected {expected}")
                for person, does in (("mouse", None), ("watcher", "observer"), ("owner", "owner")):
                    looker = Looker(browser, args.out, size, axe)
                    if does is None:
                        by_mouse(looker, own[person], 4)
                    else:
                        looker.page.goto(own[person])
                        enter(looker.page)
                        looker.look(does)
                    looker.close()
            with serving(quiz) as base:
                looker = Looker(browser, args.out, size, axe)
                learn(looker, links(quiz, base)["course"], 6)
                looker.close()
            browser.close()
    print(json.dumps({"problems": problems, "pictures": len(list(args.out.glob("*.png")))}, indent=1))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
