"""HTML pages as PDF by weasyprint, where installed (extra `pdf`). The same page gives the same bytes."""

import hashlib
import logging

from synthcohort.core.errors import ConfigError, Problem


def check_pdf() -> None:
    """Raises ConfigError with what to do when weasyprint, or a library that it needs, is not there."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError) as error:
        raise ConfigError(
            Problem(
                "setting release.pdf", f"needs weasyprint, which cannot be loaded ({type(error).__name__})",
                remedy="pip install 'synthcohort[pdf]', or leave release.pdf out",
            )
        ) from None  # fmt: skip


def to_pdf(html: str) -> bytes:
    """One page as a tagged PDF. Nothing is fetched: a page that names another file fails."""
    import weasyprint

    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of CSS for screens
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    identifier = hashlib.sha256(html.encode()).hexdigest()[:32].encode()
    page = weasyprint.HTML(string=html, url_fetcher=_inside)
    return bytes(page.write_pdf(pdf_identifier=identifier, pdf_variant="pdf/ua-1"))


def _inside(url: str, *arguments: object, **settings: object) -> object:
    from weasyprint.urls import default_url_fetcher

    if not url.startswith("data:"):
        raise ValueError("a document names another file")
    return default_url_fetcher(url)
