"""Commands about category trees: taking a published one in, looking at one, and the versions of one."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, ConfigFile, RunFolder, Sets

trees = typer.Typer(help="Category trees: Google's, Shopify's, or your own.", no_args_is_help=True)
app.add_typer(trees, name="taxonomy")

TreeFile = Annotated[Path, typer.Argument(help="prodcat's own .json, Google's or Shopify's published file, or lines 'A > B > C'")]


@trees.command("import")
def import_file(
    file: TreeFile,
    out: Annotated[Path, typer.Option("--out", help="JSON file to write: what --taxonomy takes")],
    below: Annotated[str | None, typer.Option("--below", help="keep this category and what lies below it: 'Apparel & Accessories'")] = None,
    as_json: AsJson = False,
) -> None:
    """A published tree as prodcat's own file."""
    from prodcat.taxonomy import parse_path
    from prodcat.tree_files import import_tree

    def work(say: object) -> dict[str, object]:
        tree = import_tree(file, out, parse_path(below) if below is not None else None)
        return {"taxonomy": str(out), "categories": len(tree), "leaves": int(tree.is_leaf.sum()), "levels": tree.depth, "hash": tree.hash}

    carry_out(work, as_json)


@trees.command()
def show(tree: TreeFile) -> None:
    """Counts a level, and some of its categories."""
    from prodcat.tree_files import read_tree, tree_lines

    carry_out(lambda say: {"lines": tree_lines(read_tree(tree))}, False, lambda found: found["lines"])


CatalogFolder = Annotated[Path, typer.Argument(help="catalog folder, or the folder of a run that holds one")]


@trees.command()
def apply(
    catalog: CatalogFolder,
    proposals: Annotated[Path, typer.Argument(help="folder that `recategorize` wrote to, with what was decided on its proposals")],
    out: Annotated[Path, typer.Option("--out", help="new folder, for the catalog under the next version of its tree")],
    by: Annotated[str | None, typer.Option("--by", help="who stands for the new version; default: whoever accepted the proposals")] = None,
    as_json: AsJson = False,
) -> None:
    """The next version of a catalog's tree, by the proposals that were accepted: its products under their new labels, and how it came about."""
    from prodcat.commands.taxonomy import run_apply

    carry_out(lambda say: run_apply(catalog, proposals, out, by=by, say=say), as_json)


@trees.command()
def relabel(
    catalog: CatalogFolder,
    versioned: Annotated[Path, typer.Option("--to", help="catalog folder with the present version of the tree, and its history")],
    out: Annotated[Path, typer.Option("--out", help="new folder for the catalog under the present version")],
    version: Annotated[int | None, typer.Option("--from", min=1, help="version that the labels are of; default: told by the catalog's tree")] = None,
    as_json: AsJson = False,
) -> None:
    """A catalog whose feeds are still labelled by an earlier version of the tree, under the present one."""
    from prodcat.commands.taxonomy import run_relabel

    carry_out(lambda say: run_relabel(catalog, versioned, out, version=version, say=say), as_json)


@trees.command()
def diff(
    catalog: CatalogFolder,
    other: Annotated[Path | None, typer.Argument(help="a later one; without it two versions of the one are held against each other")] = None,
    first: Annotated[int | None, typer.Option("--from", min=1, help="version; default: the one before --to")] = None,
    last: Annotated[int | None, typer.Option("--to", min=1, help="version; default: the present one")] = None,
    as_json: AsJson = False,
) -> None:
    """Categories that were added, removed, renamed and moved, and the products they had and have."""
    from prodcat.commands.taxonomy import run_diff

    carry_out(lambda say: run_diff(catalog, other, first=first, last=last), as_json, lambda found: found["lines"])


@trees.command()
def history(catalog: CatalogFolder, as_json: AsJson = False) -> None:
    """Versions of a catalog's tree, newest first: who changed what, and when."""
    from prodcat.commands.taxonomy import run_history

    carry_out(lambda say: run_history(catalog), as_json, lambda found: found["lines"])


@trees.command()
def migrate(
    run: RunFolder,
    catalog: CatalogFolder,
    out: Annotated[Path, typer.Option("--out", help="new folder, for a run as `fit` leaves one")],
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV key,path,decision of reviewed labels, as `audit` writes it")] = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """A bundle for a catalog that `apply` wrote, from a run on the version before: encoders and features are kept, both stages go on from their
    weights.

    Shorter: --set epochs=0.25; not trained at all: --set epochs=0.
    """
    from prodcat.commands.taxonomy import run_migrate

    carry_out(lambda say: run_migrate(run, catalog, out, labels=labels, config=config, sets=sets, say=say), as_json)
