"""Commands about proposals to change the tree: the page to review them, and decisions without it."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson

Proposals = Annotated[Path, typer.Argument(help="folder that `recategorize` wrote to")]


@app.command()
def review(
    out: Proposals,
    catalog: Annotated[Path | None, typer.Option(help="catalog folder; default: the one that the proposals were made of")] = None,
    host: Annotated[str, typer.Option(help="address to listen on; other than this machine's own ones only with a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port")] = 8484,
    by: Annotated[str | None, typer.Option(help="who decides; default: the page asks")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="PRODCAT_REVIEW_TOKEN", help="what a browser has to know; default: drawn and printed where one is needed")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="list the proposals and what was decided, and stop")] = False,
    as_json: AsJson = False,
) -> None:
    """See proposals with their pictures in a browser and decide on them, until Ctrl-C."""
    from prodcat.reviewing.run import serve_review, state_lines, states

    if table:
        carry_out(lambda _: states(out), as_json, state_lines)
    else:
        carry_out(lambda say: serve_review(out, catalog=catalog, host=host, port=port, reviewer=by, token=token, say=say), as_json)


@app.command()
def decide(
    out: Proposals,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="of the proposal; `review OUT --table` lists them")],
    action: Annotated[str, typer.Argument(help="accept, reject, reopen or note")],
    by: Annotated[str, typer.Option(help="who decides")],
    names: Annotated[list[str], typer.Option("--name", help="PART=NAME, parts count from 0 (NAME where there are none); may be repeated")] = [],  # noqa: B006
    note: Annotated[str | None, typer.Option(help="for the audit trail")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide on one proposal without a browser."""
    from prodcat.reviewing.run import BY_HAND, decide_by_hand

    if action not in BY_HAND:
        raise typer.BadParameter(f"{action!r}: one of {', '.join(BY_HAND)}", param_hint="ACTION")
    carry_out(lambda _: decide_by_hand(out, identifier, BY_HAND[action], by=by, names=names, note=note), as_json)
