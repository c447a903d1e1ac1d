"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Sources = Annotated[list[str], typer.Argument(help="feeds (Parquet, CSV, JSON, JSON lines), folders of feeds, URIs, or one catalog folder")]
BundleFolder = Annotated[Path, typer.Argument(help="bundle folder, as `fit` writes it to OUT/bundle")]
RunFolder = Annotated[Path, typer.Argument(help="folder that `fit` wrote to: what it left is gone on from")]
Out = Annotated[Path, typer.Option("--out", help="folder to write to")]
ConfigFile = Annotated[str | None, typer.Option("--config", help="YAML file (for fit: or a shipped profile: offline, hub or multilingual)")]
Sets = Annotated[list[str], typer.Option("--set", help="key=value over the configuration, dotted keys; may be repeated")]
Mapping = Annotated[str | None, typer.Option("--mapping", help="YAML file: which column is which field; default: FEED.mapping.yaml beside each feed")]
TaxonomyFile = Annotated[
    str | None, typer.Option("--taxonomy", help="category tree: .json of prodcat, Google's or Shopify's published file, or lines 'A > B > C'")
]
CrosswalkFile = Annotated[Path | None, typer.Option("--crosswalk", help="CSV of `crosswalk propose`: accepted lines label rows that have no label")]
Features = Annotated[Path | None, typer.Option("--features", help="folder of feature sets; default: RUN/features")]
AsJson = Annotated[bool, typer.Option("--json", help="print the summary as one line of JSON on standard output")]
