"""The command line: ``anydrop demo`` and ``anydrop verify``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

from anydrop._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name. By default that of this process.

    Returns
    -------
    int
        0 on success, 1 if a check failed or the output could not be written, and 130 if the user
        interrupted it. A wrong command line exits with 2.

    Examples
    --------
    >>> main(["verify"])
    anydrop ...
    One digest of masks, 4e10e0c081350e29, ... agree.
    0
    """
    parser = argparse.ArgumentParser(
        prog="anydrop",
        description="Dropout for every array library. The same seed draws the same mask in each.",
    )
    parser.add_argument("--version", action="version", version=f"anydrop {__version__}")
    commands = parser.add_subparsers(dest="command")

    demo = commands.add_parser(
        "demo",
        help="train small networks with and without dropout, and save pictures",
        description="Train small networks on scanned digits, with and without dropout. "
        "Print the accuracies and save pictures.",
    )
    demo.add_argument(
        "--backend", default="numpy", help="array library to train with (default: %(default)s)"
    )
    demo.add_argument(
        "--seeds",
        type=_positive,
        default=5,
        help="how many networks of each kind to train (default: %(default)s)",
    )
    demo.add_argument(
        "--out", default="anydrop-demo", help="folder for the pictures (default: ./%(default)s)"
    )
    commands.add_parser(
        "verify",
        help="check that every installed library draws the published masks",
        description="Draw published masks and noise with every installed library and device, "
        "and compare their digests. The exit status is 1 if any digest differs.",
    )

    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.error(f"no command given: choose one of {', '.join(commands.choices)}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal may lack characters of a table or of a folder's name.
        sys.stdout.reconfigure(errors="replace")
    try:
        status = _run(chosen, demo)
        print(end="", flush=True)
    except BrokenPipeError:  # The reader of the output has closed it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a full disk
        parser.exit(1, f"anydrop: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "anydrop: interrupted\n")
    return status


def _run(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    # Imported here, since the demo needs packages that verify does not.
    if chosen.command == "verify":
        from anydrop import verify

        return verify.run()
    from anydrop import demo

    try:
        return demo.run(backend=chosen.backend, seeds=chosen.seeds, out=chosen.out)
    except (ImportError, ValueError) as error:
        parser.error(str(error))


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return number
