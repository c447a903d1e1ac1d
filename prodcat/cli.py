"""The command line: every command parses, calls one function, prints one summary. `prodcat --help` lists them."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from prodcat import __version__
from prodcat.errors import ProdcatError

app = typer.Typer(
    help="prodcat: products from many shops in one category tree, on Ray.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Arguments that several commands share.
Sources = Annotated[list[str], typer.Argument(help="feeds (Parquet, CSV, JSON, JSON lines), folders of feeds, URIs, or one catalog folder")]
BundleFolder = Annotated[Path, typer.Argument(help="bundle folder, as `fit` writes it to OUT/bundle")]
RunFolder = Annotated[Path, typer.Argument(help="folder that `fit` wrote to: what it left is gone on from")]
Out = Annotated[Path, typer.Option("--out", help="folder to write to")]
ConfigFile = Annotated[str | None, typer.Option("--config", help="YAML file (for fit: or the name of a shipped profile, offline or hub)")]
Sets = Annotated[list[str], typer.Option("--set", help="key=value over the configuration, dotted keys; may be repeated")]
Mapping = Annotated[str | None, typer.Option("--mapping", help="YAML file: which column is which field; default: FEED.mapping.yaml beside each feed")]
TaxonomyFile = Annotated[str | None, typer.Option("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")]
Features = Annotated[Path | None, typer.Option("--features", help="folder of feature sets; default: RUN/features")]
AsJson = Annotated[bool, typer.Option("--json", help="print the summary as one line of JSON on standard output")]


def _run(
    work: Callable[[Callable[[str], None]], dict[str, Any]], as_json: bool, readable: Callable[[dict[str, Any]], list[str]] | None = None
) -> None:
    """Progress to standard error, the summary alone to standard output, a ProdcatError as one line and exit status 1.

    Args:
        readable: the summary as lines; None: one line an entry.
    """
    started = time.perf_counter()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - started:7.1f} s  {line}", file=sys.stderr, flush=True)

    try:
        # Libraries and Ray's forwarded logs print to standard output as they please; a reader of the summary must never meet them.
        with contextlib.redirect_stdout(sys.stderr):
            summary = work(say)
    except ProdcatError as error:
        print(f"prodcat: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    for line in (readable or _entries)(summary):
        print(line)


def _entries(summary: dict[str, Any]) -> list[str]:
    return [f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value}" for name, value in summary.items()]


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(f"prodcat {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    products: Annotated[int, typer.Option(min=100, help="products to draw")] = 1500,
    port: Annotated[int, typer.Option(help="HTTP port while the demo runs")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Draw a catalog, fit a bundle on it, serve it, classify a product over HTTP, stop."""
    from prodcat.demonstration import demonstrate

    _run(lambda say: demonstrate(out, products=products, port=port, say=say), as_json)


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

    _run(lambda say: run_ingest(sources, out, config=config, sets=sets, mapping=mapping, taxonomy=taxonomy, say=say), as_json)


@app.command()
def fit(
    sources: Sources,
    out: Out,
    mapping: Mapping = None,
    taxonomy: TaxonomyFile = None,
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
    from prodcat.commands import run_fit

    _run(
        lambda say: run_fit(
            sources,
            out,
            config=config,
            sets=sets,
            mapping=mapping,
            taxonomy=taxonomy,
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
    from prodcat.commands import run_tune

    _run(lambda say: run_tune(run, config=config, sets=sets, say=say), as_json)


@app.command()
def compare(
    run: RunFolder,
    out: Out,
    config: ConfigFile = None,
    sets: Sets = [],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Early, late and attention fusion over text, image, both and CLIP, on a run's test split: OUT/comparison.md and .json."""
    from prodcat.commands import run_compare

    _run(lambda say: run_compare(run, out, config=config, sets=sets, say=say), as_json)


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
    from prodcat.commands import run_evaluate

    _run(
        lambda say: run_evaluate(bundle, sources, out, config=config, sets=sets, mapping=mapping, say=say, probes=probes, seed_bundles=seed_bundles),
        as_json,
    )


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
    from prodcat.commands import run_classify

    _run(lambda say: run_classify(bundle, sources, out, config=config, sets=sets, mapping=mapping, say=say), as_json)


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

    _run(lambda say: run_audit(place, out, features=features, config=config, sets=sets, say=say), as_json)


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
    from prodcat.commands import run_explain
    from prodcat.prediction.explain import explanation_lines

    _run(
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


@app.command()
def serve(
    bundle: Annotated[Path, typer.Argument(help="bundle folder, as `fit` writes it to OUT/bundle, or the store of `promote`")],
    keys: Annotated[Path | None, typer.Option(help="key file of `prodcat key`; default: everybody may ask")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port")] = 8000,
) -> None:
    """Serve a bundle on this machine until Ctrl-C. For a cluster: serve run serve_configs/prod.yaml."""
    from prodcat.demonstration import serve_until_stopped

    _run(lambda say: serve_until_stopped(bundle, keys=keys, host=host, port=port, say=say), as_json=False)


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="whom the key is for: letters, digits, '.', '_', '-'")],
    file: Annotated[Path, typer.Option("--file", help="key file, named as `keys` in the args of the serve config; made if it is not there")],
    rate: Annotated[float | None, typer.Option("--rate", help="requests a second that a text replica answers; default: as many as come")] = None,
    burst: Annotated[int | None, typer.Option("--burst", help="requests at once after a pause; default: one second's worth")] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="take the key back; servers notice within a second or so")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key for a caller of the served API and show it once, or take it back."""
    from prodcat.serving.key_file import change_keys

    _run(lambda _: change_keys(file, name, rate=rate, burst=burst, revoke=revoke), as_json)


Store = Annotated[Path, typer.Option(help="folder of the model store, named as `bundle` in the args of the serve config")]


@app.command()
def promote(
    bundle: BundleFolder,
    store: Store = Path("runs/models"),
    canary: Annotated[str | None, typer.Option(help="give it this share of the products (5%) and compare, instead of all")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a bundle the one that running applications answer with, once it has answered a warm-up; they take it up without losing a request."""
    from prodcat.promoting import promote as run_promote

    _run(lambda say: run_promote(bundle, store, canary=canary, say=say), as_json)


@app.command()
def rollback(store: Store = Path("runs/models"), as_json: AsJson = False) -> None:
    """Take the canary away; without one, go back to the bundle before."""
    from prodcat.promoting import rollback as run_rollback

    _run(lambda _: run_rollback(store), as_json)


@app.command()
def doctor(bundle: Annotated[Path | None, typer.Option(help="also check this bundle")] = None) -> None:
    """Check Ray, torch, GPU, encoders, ports and a bundle, and say what to do."""
    from prodcat.checkup import checks

    failed = False
    for check in checks(bundle):
        failed |= check.mark == "fail"
        print(f"{check.mark:4}  {check.name}: {check.found}" + (f"\n      -> {check.remedy}" if check.remedy else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    app()
