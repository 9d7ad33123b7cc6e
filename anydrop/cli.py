"""The command line: ``anydrop demo`` and ``anydrop verify``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line, without the program's name; that of this process by default.

    Returns
    -------
    int
        0 if all went well, 1 if a check failed. A wrong command line exits with 2.

    Examples
    --------
    >>> main(["verify"])
    anydrop ...
    One digest, 4e10e0c081350e29: all ... agree.
    0
    """
    parser = argparse.ArgumentParser(
        prog="anydrop", description="One dropout layer for every array library."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser(
        "demo", help="train on real data, with and without dropout, and draw pictures"
    )
    demo.add_argument(
        "--backend", default="numpy", help="array library to train with (%(default)s)"
    )
    demo.add_argument(
        "--seeds", type=_positive, default=5, help="networks to train of each kind (%(default)s)"
    )
    demo.add_argument(
        "--out", default="anydrop-demo", help="folder for the pictures (./%(default)s)"
    )
    commands.add_parser(
        "verify", help="draw the same masks on every library found here and compare digests"
    )

    chosen = parser.parse_args(arguments)
    # Imported when chosen: the demo needs packages that verify does not.
    if chosen.command == "verify":
        from anydrop import verify

        return verify.run()
    from anydrop import demo as demonstration

    try:
        return demonstration.run(backend=chosen.backend, seeds=chosen.seeds, out=chosen.out)
    except (ModuleNotFoundError, ValueError) as error:
        parser.error(str(error))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number
