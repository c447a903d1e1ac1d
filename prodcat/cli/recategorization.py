"""Commands that look for categories the tree does not have yet."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, BundleFolder, ConfigFile, Out, Sets


@app.command()
def recategorize(
    bundle: BundleFolder,
    catalog: Annotated[Path, typer.Argument(help="catalog folder, as `ingest` writes it, or a run folder of `fit`")],
    out: Out,
    node: Annotated[str | None, typer.Option("--node", help="'Footwear > Shoes'; default: every category with leaves right below")] = None,
    features: Annotated[Path | None, typer.Option("--features", help="RUN/features of the bundle's run: nothing is embedded twice")] = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Cluster the products of a branch and propose changes of the tree: OUT/proposals.csv, a map of each branch; `review` shows them.

    By images alone: --set 'reads=[image]'. With titles that do not name a category: --set masked_titles=true. Nothing is changed until
    `taxonomy apply`.
    """
    from prodcat.commands.recategorization import run_recategorize

    carry_out(lambda say: run_recategorize(bundle, catalog, out, node=node, features=features, config=config, sets=sets, say=say), as_json)


@app.command()
def assign(
    folder: Annotated[Path, typer.Argument(help="folder that `recategorize` wrote")],
    catalog: Annotated[Path, typer.Argument(help="catalog folder with new products")],
    bundle: Annotated[Path | None, typer.Option("--bundle", help="default: the one that `recategorize` used")] = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Put new products into the clusters there are. Those that fit none are collected until they make a cluster, which becomes a proposal."""
    from prodcat.commands.recategorization import run_assign

    carry_out(lambda say: run_assign(folder, catalog, bundle=bundle, config=config, sets=sets, say=say), as_json)
