"""What all jobs share: their common arguments, progress on standard error, one line of JSON last, and the exit status."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from prodcat.errors import ProdcatError


def parser(job: str, *, sources: bool = True, out: bool = True, profile: str | None = None) -> argparse.ArgumentParser:
    """Args: sources: the job takes feeds or a catalog; out: it takes a folder to write to; profile: default of --config."""
    arguments = argparse.ArgumentParser(prog=f"python -m ray_jobs.{job}")
    if sources:
        arguments.add_argument("sources", nargs="+", help="feeds, folders, URIs, or one catalog folder; whole paths that every node sees")
        arguments.add_argument("--mapping", help="YAML file: which column is which field")
    if out:
        arguments.add_argument("--out", required=True, help="folder to write to: a whole path, for a job's working folder goes with the job")
    arguments.add_argument("--config", default=profile, help="YAML file of this job, or a profile of ray_jobs/configs")
    arguments.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="over the configuration; may be repeated")
    return arguments


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def finish(work: Callable[[], dict[str, Any]]) -> None:
    """Run, print the summary as the last line, exit 1 on an error that a user can act on."""
    try:
        summary = work()
    except ProdcatError as error:
        say(f"prodcat: {error}")
        print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
        sys.exit(1)
    print(json.dumps(summary, ensure_ascii=False), flush=True)
