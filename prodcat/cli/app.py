"""The application that commands register with, and how a command runs: progress, one summary, errors in one line."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import typer

from prodcat.errors import ProdcatError

app = typer.Typer(
    help="prodcat: products from many shops in one category tree, on Ray.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def carry_out(
    work: Callable[[Callable[[str], None]], dict[str, Any]], as_json: bool, readable: Callable[[dict[str, Any]], list[str]] | None = None
) -> None:
    """Progress to standard error, the summary alone to standard output, a ProdcatError as one line and exit status 1.

    Args:
        readable: the summary as lines; None: one line an entry.
    """
    started = time.perf_counter()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - started:7.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        # Libraries and Ray's forwarded logs print to standard output as they please; a reader of the summary must never meet them.
        with contextlib.redirect_stdout(sys.stderr):
            summary = work(say)
    except ProdcatError as error:
        print(f"prodcat: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    for line in (readable or _entries)(summary):
        print(line)


def _entries(summary: dict[str, Any]) -> list[str]:
    return [f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value}" for name, value in summary.items()]
