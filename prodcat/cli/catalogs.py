"""Commands about catalogs: reading feeds, judging them, doubting labels."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, ConfigFile, Features, Mapping, Out, Sets, Sources, TaxonomyFile


@app.command()
def ingest(
    sources: Sources,
    out: Out,
    mapping: Mapping = None,
    taxonomy: TaxonomyFile = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Feeds into one catalog: products, rejections with reasons, near-duplicate groups, splits, the tree."""
    from prodcat.commands import run_ingest

    carry_out(lambda say: run_ingest(sources, out, config=config, sets=sets, mapping=mapping, taxonomy=taxonomy, say=say), as_json)


@app.command()
def audit(
    place: Annotated[Path, typer.Argument(help="run folder of `fit`, or a catalog folder", metavar="CATALOG_OR_RUN")],
    out: Out,
    features: Features = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Find labels that are likely wrong: OUT/issues.csv to review, OUT/overlay.csv for `fit --labels` once decisions are filled in."""
    from prodcat.commands import run_audit

    carry_out(lambda say: run_audit(place, out, features=features, config=config, sets=sets, say=say), as_json)


@app.command("feed-quality")
def feed_quality(
    catalog: Annotated[Path, typer.Argument(help="catalog folder, as `ingest` writes it", metavar="CATALOG")],
    out: Out,
    bundle: Annotated[Path | None, typer.Option("--bundle", help="whose tree says what is known; default: what the other platforms have")] = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """What is wrong with each platform's feed: missing fields, copies, labels that contradict each other, categories never seen."""
    from prodcat.commands import run_feed_quality

    carry_out(lambda say: run_feed_quality(catalog, out, bundle=bundle, config=config, sets=sets, say=say), as_json)
