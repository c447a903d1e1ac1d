"""Commands about platforms: what a model is worth on one it has never seen."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, ConfigFile, Out, Sets


@app.command("cross-platform")
def cross_platform(
    catalog: Annotated[Path, typer.Argument(help="catalog folder, as `ingest` writes it")],
    out: Out,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Every platform in turn as if it were new, with every fusion: OUT/cross_platform.md and .json. Goes on where a run was broken off.

    Which platforms: --set 'cross_platform.platforms=[a, b]'. Shops that belong together: --set 'cross_platform.related=[[a, a_outlet]]'.
    """
    from prodcat.commands.comparing import run_cross_platform

    carry_out(lambda say: run_cross_platform(catalog, out, config=config, sets=sets, say=say), as_json)
