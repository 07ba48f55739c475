"""`synthcohort study serve`: the application behind uvicorn."""

import logging
from pathlib import Path
from typing import Any

from synthcohort.core.errors import InputError, Problem
from synthcohort.study.access import invitation
from synthcohort.study.backup import open_store


def serve(
    folder: Path, host: str = "127.0.0.1", port: int = 8000, database: str | None = None, proxy: str = "",
    certificate: Path | None = None, key: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Serves until it is stopped. `proxy`: address of a proxy whose X-Forwarded headers are believed."""
    try:
        import uvicorn

        from synthcohort.study.server import make_app
    except ImportError:
        problem = Problem("study serve", "needs FastAPI and uvicorn", remedy="pip install 'synthcohort[study]'")
        raise InputError(problem) from None
    store = open_store(folder, database)
    facts = store.meta()
    if host not in ("127.0.0.1", "::1", "localhost") and not (proxy or certificate):
        raise InputError(
            Problem(
                f"--host {host}", "would send sessions over the network unprotected", "127.0.0.1, or TLS",
                "give --certificate and --key, or run behind a proxy with TLS and name it with --proxy",
            )
        )  # fmt: skip
    owner = store.one("SELECT generation FROM people WHERE person = 'owner'")
    assert owner is not None
    scheme = "https" if certificate else "http"
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _say(f"{scheme}://{host}:{port}/join/{invitation(facts['secret'], 'owner', owner['generation'])}")
    try:
        uvicorn.run(
            make_app(folder, store),
            host=host,
            port=port,
            proxy_headers=bool(proxy),
            forwarded_allow_ips=proxy or None,
            server_header=False,
            date_header=True,
            access_log=False,  # it would note addresses of readers
            log_level="warning",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=16 * 1024,
            limit_concurrency=500,
        )
    finally:
        answers = store.one("SELECT COUNT(*) AS n FROM answers")
        store.close()
    return {"study": Path(folder).as_posix(), "answers": int(answers["n"]) if answers else 0}


def _say(link: str) -> None:
    import sys

    print(f"Owner's page, with everybody's links: {link}", file=sys.stderr, flush=True)
