"""What all jobs share: common arguments, inputs and outputs in stores, progress on standard error, one line of JSON last, and the exit status."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prodcat.errors import ProdcatError
from prodcat.workspace import Workspace

PLACE = "a whole path that every node sees, or a URI (s3://, gs://, file://)"
WORK = (
    "folder for copies of what URIs name, and for results until they are delivered; where there are several nodes, on a file system that all of them "
    "see. It is kept, and a job that was killed goes on there. Default: a temporary folder of this machine"
)


def parser(job: str, *, sources: bool = True, out: bool = True, labels: bool = False) -> argparse.ArgumentParser:
    """Args: sources: the job takes feeds or a catalog; out: it takes a folder to write to; labels: it takes what labels are made from."""
    arguments = argparse.ArgumentParser(prog=f"python -m ray_jobs.{job}")
    if sources:
        arguments.add_argument("sources", nargs="+", help=f"feeds, folders of feeds, or one catalog folder; each {PLACE}")
        arguments.add_argument("--mapping", help="YAML file: which column is which field")
    if out:
        arguments.add_argument("--out", required=True, help=f"folder to write to: {PLACE}; a job's working folder goes with the job")
    if labels:
        arguments.add_argument("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")
        arguments.add_argument("--crosswalk", help="CSV of `prodcat crosswalk propose`: accepted lines label rows that have no label")
    arguments.add_argument("--config", help="YAML file of this job, or a profile of ray_jobs/configs")
    arguments.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="over the configuration; may be repeated")
    arguments.add_argument("--work", type=Path, help=WORK)
    return arguments


def given(a: argparse.Namespace, work: Workspace) -> dict[str, Any]:
    """The common arguments, as the functions of prodcat.commands take them."""
    files = {name: work.local(getattr(a, name)) for name in ("config", "mapping", "taxonomy") if hasattr(a, name)}
    tables = {"crosswalk": work.optional(a.crosswalk)} if hasattr(a, "crosswalk") else {}
    return {**files, **tables, "sets": a.sets, "say": work.say}


def finish(a: argparse.Namespace, run: Callable[[Workspace], dict[str, Any]]) -> None:
    """Run, print the summary as the last line, exit 1 on an error that a user can act on."""
    work = Workspace(a.work, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        with work:
            summary = work.named(run(work))
    except ProdcatError as error:
        told = work.named(str(error))
        print(f"prodcat: {told}", file=sys.stderr, flush=True)
        print(json.dumps({"error": told}, ensure_ascii=False), flush=True)
        sys.exit(1)
    print(json.dumps(summary, ensure_ascii=False), flush=True)
