"""Every page of a bundle in headless Chromium, from disk, as a receiver opens it.

Each page is looked at on a desktop and on a phone (390 px), on a light and on a dark screen: nothing is wider than the
screen, no script fails, nothing is asked of a network, every link leads to a file and every mark to its place, all
that can be chosen is reached by Tab, in sight and with a visible mark of focus. The site's filters, images and pages
are used by keyboard alone. With --axe (axe.min.js of the npm package axe-core) contrast and ARIA are checked too.
Screenshots and, where Ghostscript is installed, the pages of every PDF are left in --out. Anything wrong ends with 1.

    python benchmarks/bundle_browser.py --out runs/bundle-browser [--bundle BUNDLE] [--axe axe.min.js]

Without --bundle one of 130 images is made by code, half of them X-rays and half slices of a CT.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
FOCUSABLE = "a[href], button:not(:disabled), select, input, summary, [tabindex]:not([tabindex^='-'])"
PART = 12_000  # pixels of height in one screenshot
problems: list[str] = []


def small_bundle(folder: Path) -> Path:
    """Two modalities, made by code, with scores that pass."""
    from release import STATED, make_cohort, write_evidence

    from synthcohort.core.signing import make_key
    from synthcohort.release import release
    from synthcohort.release.config import ReleaseConfig

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make_key(folder / "key")
    cohort = make_cohort(folder / "cohort", 130)
    write_evidence(folder / "evidence", cohort, folder / "key")
    release(cohort.path, folder / "evidence", folder / "bundle", ReleaseConfig(**STATED), key=folder / "key")
    return folder / "bundle"


@contextmanager
def opened(browser: Browser, path: Path, size: str, scheme: str = "light") -> Iterator[Page]:
    """A page from disk; what the browser complains about, and what it asks of a network, is a problem."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        has_touch=size == "phone",
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    context.set_default_timeout(120_000)  # machines that do other work
    page, name = context.new_page(), path.name
    page.on("console", lambda said: problems.append(f"{name}, console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(f"{name}, script: {error}"))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else
            problems.append(f"{name} asks {urlsplit(asked.url).scheme} for something"))  # fmt: skip
    page.goto(path.absolute().as_uri())
    yield page
    context.close()


def look(page: Page, name: str, out: Path, axe: str, picture: bool = True) -> None:
    """Width, accessibility, screenshot of the whole page."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 0:
        problems.append(f"{name}: {wide} px wider than the screen")
    if axe:
        page.evaluate(axe)  # through the debugger, which the page’s policy does not bind
        found = page.evaluate(
            "axe.run().then(r => r.violations.map("
            "v => [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 120)]))"
        )
        problems.extend(f"axe {name}: {violation}" for violation in found)
    if picture:
        shoot(page, name, out)


def shoot(page: Page, name: str, out: Path) -> None:
    """The whole page; one that is longer than a browser can draw at once, in parts."""
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    for part, top in enumerate(range(0, height, PART)):
        clip = {"x": 0, "y": top, "width": width, "height": min(PART, height - top)}
        page.screenshot(path=out / (f"{name}-{part + 1}.png" if part else f"{name}.png"), full_page=True, clip=clip)


def broken_links(page: Page, path: Path, bundle: Path) -> int:
    """Every link of the page leads to a file of the bundle, and to a place that is there; returns how many."""
    links = page.evaluate("[...document.querySelectorAll('[href], [src]')].map(e => e.href || e.src)")
    for link in links:
        parts = urlsplit(link)
        if parts.scheme in ("data", "blob"):
            continue
        target = Path(unquote(parts.path))
        if parts.scheme != "file" or not target.is_file():
            problems.append(f"{path.name}: a link leads nowhere: {link.rpartition('/')[2]}")
        elif not target.resolve().is_relative_to(bundle.resolve()):
            problems.append(f"{path.name}: a link leads out of the bundle")
        elif parts.fragment and target.suffix == ".html":
            text = target.read_text(encoding="utf-8")
            if f'id="{parts.fragment}"' not in text:
                problems.append(f"{path.name}: no place #{parts.fragment} in {target.name}")
    return len(links)


def by_tab(page: Page, name: str) -> int:
    """Everything that can be chosen is reached by Tab, in sight and marked; returns how many stops there are."""
    page.evaluate(
        "s => { let n = 0; for (const e of document.querySelectorAll(s)) if (e.checkVisibility()) "
        "e.dataset.stop = n++; }",
        FOCUSABLE,
    )
    wanted = set(range(page.locator("[data-stop]").count()))
    reached: set[int] = set()
    for _ in range(len(wanted) + 3):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect(); "
            "return {stop: e.dataset.stop, what: e.outerHTML.slice(0, 90), "
            "marked: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 || s.boxShadow !== 'none', "
            "seen: b.width > 0 && b.bottom > 0 && b.top < innerHeight && b.right > 0 && b.left < innerWidth}; })()"
        )
        if at["stop"] is None or int(at["stop"]) in reached:
            continue
        reached.add(int(at["stop"]))
        for fault, words in (("marked", "shows no focus"), ("seen", "is out of sight with the focus on it")):
            if not at[fault]:
                problems.append(f"{name}: {words}: {at['what']}")
    for stop in sorted(wanted - reached):
        missed = page.locator(f"[data-stop='{stop}']").evaluate("e => e.outerHTML.slice(0, 90)")
        problems.append(f"{name}: Tab never reaches {missed}")
    return len(reached)


def expect(name: str, holds: object) -> None:
    if not holds:
        problems.append(f"the site: {name}")


def site_by_keyboard(page: Page, out: Path, axe: str, size: str) -> None:
    """Filters, pages and one image without a pointer."""
    count: Callable[[], str] = lambda: page.locator("#count").inner_text()  # noqa: E731
    focused: Callable[[str], Any] = lambda code: page.evaluate(f"document.activeElement.{code}")  # noqa: E731
    everything = count()
    for position in range(page.locator("#filters select").count()):
        chosen = page.locator("#filters select").nth(position)
        chosen.focus()
        page.keyboard.press("ArrowDown")
        wanted = page.evaluate(
            "name => { const first = COHORT.filters.find(f => f.name === name).values[0]; "
            "return COHORT.rows.filter(r => r.facts[name] === first).length; }",
            chosen.get_attribute("name"),
        )
        expect(f"filter {position + 1} does not work by keyboard", count().startswith(f"{wanted:,} of "))
        expect("a filter moves the focus", focused("tagName") == "SELECT")
        page.keyboard.press("Home")
        expect("a filter cannot be undone by keyboard", count() == everything)
    search = page.locator("#filters input")
    search.focus()
    page.keyboard.type("no such image")
    expect("nothing is said when nothing matches", count().startswith("0 of"))
    look(page, f"index-nothing-{size}", out, axe)
    search.fill("")
    if page.locator("#after").is_enabled():
        page.locator("#after").focus()
        page.keyboard.press("Enter")
        expect("the next page keeps the focus nowhere", focused("tagName") != "BODY")
        page.locator("#before").focus()
        page.keyboard.press("Enter")
    tile = page.locator("#images button").nth(1)
    tile.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.wait_for_function("document.getElementById('look-image').naturalWidth > 0")
    look(page, f"index-image-{size}", out, axe, picture=False)
    page.screenshot(path=out / f"index-image-{size}.png")
    for _ in range(14):
        page.keyboard.press("Tab")
        expect("Tab leaves an open image", page.evaluate("document.activeElement === document.body || "
               "document.getElementById('look').contains(document.activeElement)"))  # fmt: skip
    for link in page.evaluate("[...document.querySelectorAll('#look-files a')].map(a => a.href)"):
        expect("a download leads nowhere", Path(unquote(urlsplit(link).path)).is_file())
    title = page.locator("#look-title").inner_text()
    page.locator("#bright").focus()
    page.keyboard.press("ArrowRight")
    expect("a slider moves to another image", page.locator("#look-title").inner_text() == title)
    page.locator("#close").focus()
    page.keyboard.press("ArrowRight")
    expect("the arrow key shows no other image", page.locator("#look-title").inner_text() != title)
    page.keyboard.press("Escape")
    expect("Escape closes nothing", not page.evaluate("document.getElementById('look').open"))
    expect("the focus is lost when an image is closed", focused("closest('#images')"))


def pdf_pages(bundle: Path, out: Path) -> int:
    """Each page of each PDF as a picture; returns how many."""
    if shutil.which("gs") is None:
        return 0
    for path in sorted((bundle / "documents").glob("*.pdf")):
        target = out / f"{path.stem}-pdf-%02d.png"
        subprocess.run(["gs", "-q", "-dBATCH", "-dNOPAUSE", "-dSAFER", "-sDEVICE=png16m", "-r70",
                        f"-sOutputFile={target}", path], check=True)  # fmt: skip
    return len(list(out.glob("*-pdf-*.png")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, help="a bundle of one's own")
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bundle = args.bundle or small_bundle(args.out / "made")
    axe = args.axe.read_text(encoding="utf-8") if args.axe else ""
    pages = [bundle / "index.html", bundle / "report.html", *sorted((bundle / "documents").glob("*.html"))]
    links = stops = 0
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=args.chromium, args=["--no-sandbox", "--disable-gpu"])
        for path in pages:
            for size in SIZES:
                with opened(browser, path, size) as page:
                    look(page, f"{path.stem}-{size}", args.out, axe)
                    links += broken_links(page, path, bundle) if size == "desktop" else 0
                    stops += by_tab(page, f"{path.stem}, {size}")
                    if path.name == "index.html":
                        site_by_keyboard(page, args.out, axe, size)
            with opened(browser, path, "desktop", "dark") as page:
                look(page, f"{path.stem}-dark", args.out, axe)
        browser.close()
    found = {"pages": len(pages), "links": links, "stops": stops, "pdf_pages": pdf_pages(bundle, args.out)}
    print(json.dumps({**found, "axe": bool(axe), "problems": list(dict.fromkeys(problems))}, indent=1))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
