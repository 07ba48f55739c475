"""The command line: parse, call, print. The result is one JSON object on stdout; progress and errors go to stderr."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from synthcohort import __version__
from synthcohort.cli import (
    demo,
    doctor,
    edit,
    evaluate,
    generate,
    ingest,
    keys,
    push,
    receive,
    release,
    run,
    study,
    trace,
    train,
    verify,
)
from synthcohort.core.errors import Problem, SynthCohortError
from synthcohort.core.files import json_text

# name -> module with SUMMARY, EXAMPLES, arguments(parser) and call(args) -> (result, exit code)
COMMANDS: dict[str, Any] = {
    "demo": demo,
    "run": run,
    "ingest": ingest,
    "receive": receive,
    "train": train,
    "generate": generate,
    "edit": edit,
    "evaluate": evaluate,
    "study": study,
    "keys": keys,
    "release": release,
    "verify": verify,
    "trace": trace,
    "push": push,
    "doctor": doctor,
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors read like all our errors."""

    def error(self, message: str) -> Any:
        raise SynthCohortError(Problem("command line", message, remedy=f"see {self.prog} --help"))


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="synthcohort",
        description="Turn a medical imaging data set into a synthetic cohort to share, with measured evidence.",
        epilog="Begin with: synthcohort demo --tiny     Then: synthcohort COMMAND --help",
    )
    top.add_argument("--version", action="version", version=f"synthcohort {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY[0].upper() + module.SUMMARY[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 (did its work), 1 (refused, problems found) or 2 (input or settings wrong)."""
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        args = parser().parse_args(arguments)
        call: Callable[[argparse.Namespace], tuple[dict[str, Any], int]] = COMMANDS[args.command].call
        result, code = call(args)
    except SynthCohortError as error:
        if debug:
            traceback.print_exc()
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command again goes on from here", file=sys.stderr)
        return 130
    except (MemoryError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {_system_words(error)}", file=sys.stderr)
        return 2
    if os.environ.get("RANK", "0") == "0":  # of several processes that torchrun started, the first speaks
        sys.stdout.write(json_text(result))
    return code


def _system_words(error: Exception) -> Problem:
    if isinstance(error, MemoryError):
        return Problem(
            "memory", "ran out", remedy="close other programs, or choose smaller images or batches; nothing is lost"
        )
    assert isinstance(error, OSError)
    where = str(error.filename) if error.filename else "a file"
    remedy = (
        "free some space; the same command again goes on" if error.errno == 28 else "the same command again goes on"
    )
    return Problem(where, error.strerror or str(error), remedy=remedy)


if __name__ == "__main__":
    sys.exit(main())
