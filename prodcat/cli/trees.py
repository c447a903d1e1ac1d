"""Commands about category trees: taking a published one in, looking at one."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson

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
