"""synthcohort receive"""

import argparse
import signal
import threading
from types import FrameType
from typing import Any

from synthcohort.cli.options import add_out

SUMMARY = "listen for images that a PACS or a scanner sends by C-STORE, and put them into a folder for ingest"
EXAMPLES = (
    "synthcohort receive --out incoming                        this machine alone, until Ctrl-C",
    "synthcohort receive --out incoming --bind 10.0.0.7 --allow PACS1 --allow CT3 --idle-seconds 600",
    "synthcohort ingest incoming --out cohort                  then, as with any folder",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    add_out(parser, "the DICOM files; one that is there already is added to")
    parser.add_argument("--port", type=int, default=11112, metavar="N", help="TCP port (default 11112)")
    parser.add_argument("--aet", default="SYNTHCOHORT", metavar="TITLE", help="AE title of the receiver, as called")
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: loopback)"
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="AET", help="a calling AE title that may send; may be repeated"
    )
    parser.add_argument(
        "--idle-seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="stop when nothing came for so long (default: never)",
    )
    parser.add_argument("--associations", type=int, default=8, metavar="N", help="most connections at once (default 8)")


def call(args: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from synthcohort.ingest.receive import ReceiveConfig, receive

    config = ReceiveConfig(args.port, args.aet, args.bind, tuple(args.allow), args.idle_seconds, args.associations)
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        """The first signal ends it in good order; a second one at once."""
        stop.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, on_signal)
    try:
        return receive(args.out, config, stop), 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
