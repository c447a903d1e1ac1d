"""Commands about crosswalks: which category of the tree a shop's own category is."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, ConfigFile, Sets, TaxonomyFile

crosswalk = typer.Typer(help="Map shops' own categories to the tree: a file to review, `ingest --crosswalk` applies it.", no_args_is_help=True)
app.add_typer(crosswalk, name="crosswalk")

Predictions = Annotated[Path | None, typer.Option("--predictions", help="folder that `classify` wrote to: its answers vote")]
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="bundle whose answers vote; its tree is taken")]


@crosswalk.command()
def propose(
    catalog: Annotated[Path, typer.Argument(help="catalog folder, as `ingest` writes it")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write, or to renew: decided lines stay")],
    predictions: Predictions = None,
    bundle: BundleOption = None,
    taxonomy: TaxonomyFile = None,
    platforms: Annotated[list[str], typer.Option("--platform", help="propose for this shop only; may be repeated; default: all")] = [],  # noqa: B006
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Propose a category for every raw category, by names, labels and votes. Write `accept` or `reject` into the column decision."""
    from prodcat.commands.crosswalk import run_crosswalk_propose

    carry_out(
        lambda say: run_crosswalk_propose(
            catalog, out, predictions=predictions, bundle=bundle, taxonomy=taxonomy, platforms=platforms, config=config, sets=sets, say=say
        ),
        as_json,
    )


@crosswalk.command()
def overlay(
    file: Annotated[Path, typer.Argument(help="CSV of `crosswalk propose`")],
    catalog: Annotated[Path, typer.Option("--catalog", help="catalog folder whose unlabelled products are to get labels")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write: key, path, decision, for `fit --labels`")],
    as_json: AsJson = False,
) -> None:
    """Accepted lines as labels for `fit --labels`, where a catalog is not to be ingested again. Test products get none."""
    from prodcat.catalog.store import Catalog
    from prodcat.crosswalking import write_overlay

    carry_out(lambda say: {"overlay": str(out), **write_overlay(file, Catalog.open(catalog), out)}, as_json)


@crosswalk.command()
def check(
    file: Annotated[Path, typer.Argument(help="CSV of `crosswalk propose`")],
    catalog: Annotated[Path, typer.Option("--catalog", help="catalog folder whose products it is to map")],
    predictions: Predictions = None,
    taxonomy: TaxonomyFile = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Coverage by platform and level, and conflicts by line. Exit status 1 if there are errors."""
    from prodcat.commands.crosswalk import run_crosswalk_check
    from prodcat.crosswalking import check_lines

    errors: list[int] = []

    def work(say: object) -> dict[str, object]:
        found = run_crosswalk_check(file, catalog, predictions=predictions, taxonomy=taxonomy, config=config, sets=sets)
        errors.append(found["errors"])
        return found

    carry_out(work, as_json, check_lines)
    if errors[0]:
        raise typer.Exit(1)
