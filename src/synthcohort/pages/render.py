"""Templates to HTML: one environment for every page."""

import base64
import functools
import struct

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from synthcohort.pages import numbers


@functools.lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("synthcohort.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = numbers.number
    environment.filters["value"] = numbers.value
    environment.filters["interval"] = numbers.interval
    environment.filters["count"] = numbers.count
    environment.filters["png_uri"] = png_uri
    environment.filters["short_digest"] = short_digest
    environment.globals["png_size"] = png_size
    return environment


def render(template: str, **context: object) -> str:
    """Render one of the package's templates with escaping on; a name the template misses raises."""
    return _environment().get_template(template).render(**context)


def png_uri(png: bytes) -> Markup:
    """A PNG as a data: URI, so that the page needs no second file."""
    return Markup("data:image/png;base64," + base64.b64encode(png).decode("ascii"))


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height from the PNG's header. Source: PNG specification, 11.2.2 IHDR."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG file")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def short_digest(digest: str | None) -> str:
    """The first twelve hex digits: enough for the eye, never for a comparison."""
    if not digest:
        return "not recorded"
    return digest.removeprefix("sha256:")[:12]
