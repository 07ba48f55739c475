"""The web application: pages for readers, made on the server; works on a tablet, and without a mouse.

Nothing that a browser gets tells an image's origin: payloads have one size and no header of their own, their addresses
are a reader's own and random, and pages of an unaware phase do not contain a word about it.
"""

import hmac
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from synthcohort.core.errors import ArtifactError, Problem
from synthcohort.study.access import Limits, Person, begin_session, end_session, note, who_asks, who_is_invited
from synthcohort.study.guard import Guard, TooLarge
from synthcohort.study.pages import message_page
from synthcohort.study.reading import phases
from synthcohort.study.store import Store

COOKIE = "reading_session"
WELCOME = "This link is yours alone: with it you come back to where you stopped, on any device."
WELCOME_COURSE = "Press the button to begin. You then get a link of your own, without giving a name."
STATIC = {"style.css": "text/css", "viewer.js": "text/javascript"}


class Study:
    """A study that is being served: its facts, read once."""

    def __init__(self, folder: Path, store: Store, clock: Callable[[], float] = time.time):
        self.folder, self.store, self.clock = folder, store, clock
        facts = store.meta()
        self.secret, self.title = str(facts["secret"]), str(facts["title"])
        self.consent, self.contact = str(facts["consent"]), str(facts["contact"])
        self.recipe: dict[str, Any] = facts["recipe"]
        self.teaching = bool(facts["teaching"])
        self.phases = phases(store)
        self._payloads = {row["image"]: row["payload"] for row in store.rows("SELECT image, payload FROM images")}
        missing = sum(not (folder / "images" / name).is_file() for name in self._payloads.values())
        if missing:
            raise ArtifactError(Problem(f"study {folder}", f"{missing} images are missing", remedy="restore a backup"))

    def payload(self, image: int) -> bytes:
        """The bytes of an image; its number is the database's, never a request's."""
        return (self.folder / "images" / self._payloads[image]).read_bytes()


def make_app(folder: Path, store: Store, clock: Callable[[], float] = time.time, limits: Limits | None = None) -> Guard:
    """The application of one study's folder."""
    from synthcohort.study import owner_routes, quiz_routes, reader_routes

    study = Study(Path(folder), store, clock)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, title="Reading")
    app.state.study = study
    app.include_router(reader_routes.router)
    app.include_router(owner_routes.router)
    if study.teaching:
        app.include_router(quiz_routes.router)
    _add_entrance(app)
    _add_errors(app)
    return Guard(app, limits or Limits())


def study_of(request: Request) -> Study:
    found = request.app.state.study
    assert isinstance(found, Study)
    return found


def person_of(request: Request) -> Person:
    """The person who asks; 401 without a session."""
    study = study_of(request)
    person = who_asks(study.store, request.cookies.get(COOKIE), study.clock())
    if person is None:
        raise HTTPException(401)
    return person


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    body = (await request.body()).decode("utf-8", "replace")
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(400) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HTTPException(400)
    return fields


Form = Annotated[dict[str, str], Depends(form_of)]


def posting(request: Request, form: Form) -> tuple[Person, dict[str, str]]:
    """Person and form of a request that changes something: from our own page, with the session's token."""
    from_our_page(request)
    person = person_of(request)
    with_token(study_of(request), person, form)
    return person, form


def from_our_page(request: Request) -> None:
    """403 for what another site's page sends."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403)


def with_token(study: Study, person: Person, form: dict[str, str]) -> None:
    """403, and a line in the audit log, without the session's token."""
    if not hmac.compare_digest(person.csrf.encode(), form.get("csrf", "").encode()):
        with study.store.writing() as write:
            note(write, study.clock(), person.name, "refused", "forged form")
        raise HTTPException(403)


Asking = Annotated[Person, Depends(person_of)]
Posting = Annotated[tuple[Person, dict[str, str]], Depends(posting)]


def home() -> RedirectResponse:
    return RedirectResponse("/", 303)


def _add_entrance(app: FastAPI) -> None:
    @app.api_route("/join/{token}", methods=["GET", "POST"])
    def join(request: Request, token: str) -> Response:
        """The link's page; the press of its button begins, so that a mail scanner that follows links does not."""
        study = study_of(request)
        if request.method == "GET":
            invited = who_is_invited(study.store, study.secret, token)
            if invited is None:
                raise HTTPException(404)
            words = [WELCOME_COURSE if invited[1] == "course" else WELCOME]
            return HTMLResponse(message_page(study.title, "Welcome", words, action=f"/join/{token}", button="Begin"))
        from_our_page(request)
        found = who_is_invited(study.store, study.secret, token)
        if found is None:
            raise HTTPException(404)
        name, role = found
        if role == "course":
            from synthcohort.study.quiz import new_learner

            name = new_learner(study.store, study.clock())
        value = begin_session(study.store, name, study.clock())
        answer = home()
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, value, max_age=12 * 3600, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post("/leave")
    def leave(request: Request, posted: Posting) -> Response:
        study = study_of(request)
        end_session(study.store, posted[0], study.clock())
        words = ["Your answers are saved. Your link brings you back to where you stopped."]
        answer = HTMLResponse(message_page(study.title, "You have left", words))
        answer.delete_cookie(COOKIE)
        return answer

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise HTTPException(404)
        text = (resources.files("synthcohort.pages") / "templates" / f"study_{name}").read_text(encoding="utf-8")
        return Response(text, media_type=STATIC[name], headers={"cache-control": "private, max-age=300"})


def _add_errors(app: FastAPI) -> None:
    said = {
        400: ("This did not work", "The request was not understood."),
        401: ("Please use your link", "You are not signed in, or were away for long. Open your invitation link again."),
        403: ("Not allowed", "The page was too old, or came from elsewhere. Go back to the start and try again."),
        404: ("Nothing here", "There is no such page, or it is not yours."),
        405: ("Nothing here", "There is no such page, or it is not yours."),
        413: ("Too large", "The request is too large."),
        415: ("This did not work", "The request was not understood."),
        500: ("This did not work", "Your last answer may not have been saved. Go back and save it again."),
    }

    @app.exception_handler(AnyHTTPException)
    async def refused(request: Request, error: AnyHTTPException) -> Response:
        heading, text = said.get(error.status_code, said[400])
        page = message_page(study_of(request).title, heading, [text], link=("/", "To the start"))
        return HTMLResponse(page, error.status_code, headers=error.headers)

    @app.exception_handler(TooLarge)
    async def large(request: Request, error: TooLarge) -> Response:
        return HTMLResponse(message_page(study_of(request).title, *_words(said[413])), 413)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        """A full disk, a database that is away: said in words, and with its traceback in the server's own log."""
        page = message_page(study_of(request).title, *_words(said[500]), link=("/", "To the start"))
        return HTMLResponse(page, 500)

    from fastapi.exceptions import RequestValidationError

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return HTMLResponse(message_page(study_of(request).title, *_words(said[400])), 400)


def _words(said: tuple[str, str]) -> tuple[str, list[str]]:
    return said[0], [said[1]]
