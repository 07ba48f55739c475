"""The bundle's own site: its data is the bundle's, its thumbnails are marked, and in a browser it works from disk."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthcohort.formats.marking import marking_problems
from synthcohort.release import release, verify
from synthcohort.release.site import TILE

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)


@pytest.fixture
def make(cohort, scores, save, config, key, tmp_path):
    def made(**changes) -> Path:
        release(cohort.path, save(scores), tmp_path / "bundle", replace(config, **changes), key=key)
        return tmp_path / "bundle"

    return made


def data(bundle: Path) -> dict:
    text = (bundle / "site" / "data.js").read_text()
    return json.loads(text.removeprefix("window.COHORT=").removesuffix(";\n"))


def test_the_data_is_the_bundles(make, cohort):
    bundle = make()
    content = data(bundle)
    assert [row["id"] for row in content["rows"]] == cohort.image_ids
    for row in content["rows"]:
        assert all((bundle / path).is_file() for path in [*row["files"].values(), row["look"]])
        assert not {"patient_id", "site", "manufacturer", "source_digest"} & set(row["facts"])
    assert [row["facts"]["seed"] for row in content["rows"]] == [str(100 + i) for i in range(6)], "more than 53 bits"
    assert "set aside" not in (bundle / "index.html").read_text()
    assert content["filters"] == [{"name": "kl_grade", "values": [0, 1, 2]}]


def test_thumbnails_show_the_images_in_order_and_are_marked(make, cohort):
    bundle = make()
    path = bundle / "site" / "thumbs" / "0000.png"
    assert marking_problems(path) == []
    with Image.open(path) as picture:
        page = np.asarray(picture)
    for i in range(len(cohort)):
        tile = page[:TILE, i * TILE : (i + 1) * TILE].astype(float)
        small = np.asarray(Image.fromarray(cohort.image(i)).resize((93, 112), Image.Resampling.BICUBIC), float)
        correlations = [np.corrcoef(tile[:, 9:102].ravel(), small.ravel())[0, 1]]
        assert correlations[0] > 0.99, i


def test_of_many_images_some_are_shown_and_the_page_says_so(make):
    bundle = make(site_images=3)
    assert [row["id"] for row in data(bundle)["rows"]] == ["synthetic-0000", "synthetic-0002", "synthetic-0004"]
    assert "shows 3 of them, taken at even steps" in (bundle / "index.html").read_text()


def test_no_site_where_none_is_wanted(make):
    bundle = make(site_images=0)
    assert not (bundle / "index.html").exists()
    assert not (bundle / "site").exists()
    assert "index.html" not in (bundle / "README.txt").read_text()
    assert verify(bundle)["ok"]


def test_deep_images_are_shown_through_their_window(volume_cohort, scores_of, save, config, key, tmp_path):
    release(volume_cohort.path, save(scores_of(volume_cohort)), tmp_path / "bundle", config, key=key)
    row = data(tmp_path / "bundle")["rows"][1]
    with Image.open(tmp_path / "bundle" / row["look"]) as picture:
        shown = np.asarray(picture)
    image = volume_cohort.image(1)
    assert shown.dtype == np.uint8
    assert (shown[image < -160] == 0).all(), "window 40 / 400"
    assert (shown[image > 240] == 255).all()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_site_works_from_disk_by_keyboard(make):
    api = pytest.importorskip("playwright.sync_api")
    bundle = make()
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"file://{bundle}/index.html")
        assert page.text_content("#count") == "6 of 6 images"
        page.select_option("select[name=kl_grade]", label="2")
        assert page.text_content("#count") == "2 of 6 images"
        page.focus("#images button")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        page.wait_for_function("document.getElementById('look-image').naturalWidth > 0")
        assert "synthetic-0002" in page.text_content("#look-title")
        page.keyboard.press("ArrowRight")
        assert "synthetic-0005" in page.text_content("#look-title")
        page.keyboard.press("Escape")
        assert not page.evaluate("document.getElementById('look').open")
        assert page.evaluate("document.documentElement.scrollWidth") <= 391
        page.goto(f"file://{bundle}/index.html#synthetic-0001")
        page.reload()
        page.wait_for_selector("dialog[open]")
        browser.close()
    assert errors == []
