"""A small site in the bundle: browse, filter, look, download. Opens from disk; needs no server and no network.

At most `release.site_images` images are shown, taken at even steps through the cohort and never chosen; the page says
how many of how many. Thumbnails lie on sheets of 100, so that a page of images is one file.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from synthcohort.core.cohort import Cohort
from synthcohort.formats import png_export
from synthcohort.formats.dicom_export import SyntheticImage
from synthcohort.pages.document import name_of
from synthcohort.pages.grids import display, fit, spread
from synthcohort.pages.render import render
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.manifest import Writer

TILE, ACROSS, PER_SHEET = 112, 10, 100
FILTERS = ("modality", "body_part", "laterality", "view", "sex")  # beside the labels
SHOWN = (*FILTERS, "age", "caption", "rows", "columns", "channels", "bits_stored", "seed", "pixels_digest", "volume")
FILES = ("dicom", "png", "classes", "nifti", "parquet")


class Site:
    """Gathers what the site shows while the images are written; `finish` writes its pages."""

    def __init__(self, writer: Writer, cohort: Cohort, config: ReleaseConfig, policy: str, aside: int = 0):
        self.writer, self.cohort, self.config = writer, cohort, config
        self.policy, self.aside = policy, aside  # name, and how many rules were set aside
        self.chosen = set(spread(len(cohort), config.site_images)) if config.site_images else set()
        self.rows: list[dict[str, Any]] = []
        self._tiles: list[np.ndarray] = []
        self._sheets = self._seen = 0

    def add(self, image: SyntheticImage, row: Mapping[str, Any]) -> None:
        """Takes the next image of the cohort, if it is one of those shown."""
        number, self._seen = self._seen, self._seen + 1
        if number not in self.chosen:
            return
        picture = display(image.pixels, _window(image))
        found = {name: row[name] for name in (*self.cohort.labels, *SHOWN) if row.get(name) is not None}
        if "seed" in found:
            found["seed"] = str(found["seed"])  # a browser keeps no whole number of 63 bits
        files = {name: row[name] for name in FILES if row.get(name)}
        look = row.get("png") or row.get("classes") if image.pixels.dtype == np.uint8 else None
        if look is None:
            look = self.writer.add_image(
                "site/views", f"{image.image_id}.png", png_export.encode(picture, image.image_id)
            )
        self.rows.append({"id": image.image_id, "facts": found, "files": files, "look": look})
        self._tiles.append(np.asarray(fit(Image.fromarray(picture), TILE)))
        if len(self._tiles) == PER_SHEET:
            self._write_sheet()

    def _write_sheet(self) -> None:
        if not self._tiles:
            return
        color = any(tile.ndim == 3 for tile in self._tiles)
        down = -(-len(self._tiles) // ACROSS)
        page = np.zeros((down * TILE, ACROSS * TILE, 3) if color else (down * TILE, ACROSS * TILE), np.uint8)
        for position, tile in enumerate(self._tiles):
            top = position // ACROSS * TILE + (TILE - tile.shape[0]) // 2
            left = position % ACROSS * TILE + (TILE - tile.shape[1]) // 2
            filled = tile if not color or tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)
            page[top : top + tile.shape[0], left : left + tile.shape[1]] = filled
        name = f"site/thumbs/{self._sheets:04d}.png"
        self.writer.add(name, png_export.encode(page, f"thumbs-{self._sheets:04d}"))
        self._tiles, self._sheets = [], self._sheets + 1

    def finish(self) -> None:
        """Writes the last sheet, the data and the page; nothing where no site was asked for."""
        if not self.rows:
            return
        self._write_sheet()
        filters = [*self.cohort.labels, *FILTERS]
        kept = [
            name
            for name in filters
            if 1 < len(values := self._values(name)) <= 60 or (name in self.cohort.labels and values)
        ]
        content = {"rows": self.rows, "filters": [{"name": name, "values": self._values(name)} for name in kept],
                   "tile": TILE, "across": ACROSS, "perSheet": PER_SHEET}  # fmt: skip
        text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
        self.writer.add("site/data.js", f"window.COHORT={text};\n")
        page = render("site.html", title=name_of(self.cohort.name), name=name_of(self.cohort.name),
                      total=len(self.cohort), shown=len(self.rows), policy=self.policy,
                      aside=self.aside)  # fmt: skip
        self.writer.add("index.html", page)

    def _values(self, name: str) -> list[Any]:
        label = self.cohort.labels.get(name)
        found = {row["facts"][name] for row in self.rows if name in row["facts"]}
        if label is not None and label.values:
            return [value for value in label.values if value in found]
        return sorted(found, key=str)[:61]


def _window(image: SyntheticImage) -> tuple[float, float] | None:
    center, width = image.record.get("window_center"), image.record.get("window_width")
    return (float(center), float(width)) if center is not None and width is not None and width >= 1 else None
