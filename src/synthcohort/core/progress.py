"""Progress on stderr: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 15.0


def duration(seconds: float) -> str:
    """Seconds as people say them: 8 s, 3 min 20 s, 2 h 5 min."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


@contextmanager
def progress(
    total: int | None, description: str, unit: str = "images", start: int = 0
) -> Iterator[Callable[..., None]]:
    """Yields advance(n=1, **shown); `start` is what an earlier run did, so that the rate counts this run only."""
    began = last = time.monotonic()
    done = start

    def line(shown: dict[str, Any], final: bool = False) -> str:
        elapsed = time.monotonic() - began
        rate = (done - start) / elapsed if elapsed > 0 else 0.0
        text = f"{description}: {done}" + (f"/{total}" if total else "") + f" {unit}"
        if rate:
            text += f", {rate:.3g}/s"
        if final:
            text += f", {duration(elapsed)}"
        elif total and rate:
            text += f", {duration((total - done) / rate)} left"
        return text + "".join(f", {key} {value}" for key, value in shown.items())

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} " + unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(description, total=total, completed=start, shown="")

            def advance_bar(n: int = 1, **shown: Any) -> None:
                nonlocal done
                done += n
                bar.update(task, advance=n, shown=" ".join(f"{key} {value}" for key, value in shown.items()))

            yield advance_bar
        return

    shown_last: dict[str, Any] = {}

    def advance(n: int = 1, **shown: Any) -> None:
        nonlocal done, last
        done += n
        shown_last.update(shown)
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            print(line(shown_last), file=sys.stderr, flush=True)

    yield advance
    print(line(shown_last, final=True), file=sys.stderr, flush=True)
