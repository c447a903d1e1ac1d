"""Commands about catalogs: reading feeds, judging them, doubting labels."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, ConfigFile, CrosswalkFile, Features, Mapping, Out, Sets, Sources, TaxonomyFile


@app.command()
def ingest(
    sources: Sources,
    out: Annotated[Path | None, typer.Option("--out", help="folder to write to; not with --sniff")] = None,
    mapping: Mapping = None,
    taxonomy: TaxonomyFile = None,
    crosswalk: CrosswalkFile = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    sniff: Annotated[bool, typer.Option("--sniff", help="propose FEED.mapping.yaml, show ten rows as they would be read, write nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Feeds into one catalog: products, rejections with reasons, near-duplicate groups, splits, the tree."""
    if sniff:
        if out or mapping or taxonomy or config or sets:
            raise typer.BadParameter("--sniff takes feeds and --json alone: it reads them as if nothing were known", param_hint="--sniff")
        from prodcat.catalog.sniffing import sniffed, sniffed_lines

        carry_out(lambda say: sniffed(sources), as_json, sniffed_lines)
        return
    if out is None:
        raise typer.BadParameter("name the folder to write to (or look first, with --sniff)", param_hint="--out")
    from prodcat.commands.ingest import run_ingest

    carry_out(
        lambda say: run_ingest(sources, out, config=config, sets=sets, mapping=mapping, taxonomy=taxonomy, crosswalk=crosswalk, say=say), as_json
    )


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
    from prodcat.commands.inspection import run_audit

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
    from prodcat.commands.inspection import run_feed_quality

    carry_out(lambda say: run_feed_quality(catalog, out, bundle=bundle, config=config, sets=sets, say=say), as_json)
