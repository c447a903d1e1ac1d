"""Commands about bundles: making one, judging it, asking it."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, BundleFolder, ConfigFile, CrosswalkFile, Features, Mapping, Out, RunFolder, Sets, Sources, TaxonomyFile


@app.command()
def fit(
    sources: Sources,
    out: Out,
    mapping: Mapping = None,
    taxonomy: TaxonomyFile = None,
    crosswalk: CrosswalkFile = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV key,path,decision of reviewed labels, as `audit` writes it")] = None,
    change_test_labels: Annotated[
        bool, typer.Option("--change-test-labels", help="let --labels change test products too; the report says so")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Split, embed, train both stages, calibrate, choose the gate, write OUT/bundle and OUT/report. Goes on where a run was broken off.

    Without --config: the profile `hub` where a model hub is reached, else `offline`.
    """
    from prodcat.commands.training import run_fit

    carry_out(
        lambda say: run_fit(
            sources,
            out,
            config=config,
            sets=sets,
            mapping=mapping,
            taxonomy=taxonomy,
            crosswalk=crosswalk,
            say=say,
            labels=labels,
            change_test_labels=change_test_labels,
        ),
        as_json,
    )


@app.command()
def tune(
    run: RunFolder,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Search stage two's settings on a run's validation split; the best become RUN/bundle. Goes on after the trials that are finished.

    Budget: --set trials=40, --set minutes=30 or both.
    """
    from prodcat.commands.training import run_tune

    carry_out(lambda say: run_tune(run, config=config, sets=sets, say=say), as_json)


@app.command()
def compare(
    run: RunFolder,
    out: Out,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Early, late and attention fusion over text, image, both and CLIP, on a run's test split: OUT/comparison.md and .json."""
    from prodcat.commands.comparing import run_compare

    carry_out(lambda say: run_compare(run, out, config=config, sets=sets, say=say), as_json)


@app.command()
def evaluate(
    bundle: BundleFolder,
    sources: Sources,
    out: Out,
    mapping: Mapping = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    probes: Annotated[
        list[str], typer.Option("--probe", help="what is hidden in turn: title, image, masked-title, masked-title+image; default: all four")
    ] = [],  # noqa: B006
    seed_bundles: Annotated[
        list[Path],
        typer.Option("--seed-bundle", help="bundle fitted alike with another seed: its F1 stands beside; may be repeated"),
    ] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Score a bundle on labelled products it has not seen: OUT/report.html and OUT/metrics.json."""
    from prodcat.commands.evaluate import run_evaluate

    carry_out(
        lambda say: run_evaluate(bundle, sources, out, config=config, sets=sets, mapping=mapping, say=say, probes=probes, seed_bundles=seed_bundles),
        as_json,
    )


@app.command()
def adapt(
    bundle: BundleFolder,
    catalog: Annotated[Path, typer.Argument(help="catalog folder with labelled products of the platform")],
    out: Annotated[Path, typer.Option("--out", help="new folder for the adapted bundle")],
    platform: Annotated[str | None, typer.Option(help="of the catalog's, where it has several")] = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Correct a bundle's answers to a platform by some labelled products of it, in seconds; says what they bought on its test products.

    Fewer labelled products: --set products=100.
    """
    from prodcat.commands.training import run_adapt

    carry_out(lambda say: run_adapt(bundle, catalog, out, platform=platform, config=config, sets=sets, say=say), as_json)


@app.command()
def classify(
    bundle: BundleFolder,
    sources: Sources,
    out: Out,
    mapping: Mapping = None,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Answer every product of a catalog or feed: Parquet in OUT/answers."""
    from prodcat.commands.classify import run_classify

    carry_out(lambda say: run_classify(bundle, sources, out, config=config, sets=sets, mapping=mapping, say=say), as_json)


@app.command()
def explain(
    bundle: BundleFolder,
    title: Annotated[str | None, typer.Option(help="the product's title")] = None,
    image: Annotated[Path | None, typer.Option(help="image file")] = None,
    description: Annotated[str | None, typer.Option(help="its description")] = None,
    brand: Annotated[str | None, typer.Option(help="its brand")] = None,
    platform: Annotated[str | None, typer.Option(help="shop it comes from, where the bundle has a gate for it")] = None,
    catalog: Annotated[Path | None, typer.Option(help="run folder of `fit`, or a catalog folder: shows the nearest training products")] = None,
    features: Features = None,
    neighbours: Annotated[int, typer.Option(min=1, help="training products to show")] = 5,
    as_json: AsJson = False,
) -> None:
    """Why a product is answered as it is: what each input did, what the mask kept out, which training products are like it."""
    from prodcat.commands.inspection import run_explain
    from prodcat.prediction.explain import explanation_lines

    carry_out(
        lambda say: run_explain(
            bundle,
            title=title,
            description=description,
            brand=brand,
            platform=platform,
            image=image,
            catalog=catalog,
            features=features,
            neighbours=neighbours,
            say=say,
        ),
        as_json,
        explanation_lines,
    )
