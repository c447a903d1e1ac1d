"""Commands about serving: the application, its keys, its store of bundles."""

from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, BundleFolder


@app.command()
def serve(
    bundle: Annotated[Path, typer.Argument(help="bundle folder, as `fit` writes it to OUT/bundle, or the store of `promote`")],
    keys: Annotated[Path | None, typer.Option(help="key file of `prodcat key`; default: everybody may ask")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="HTTP port")] = 8000,
) -> None:
    """Serve a bundle on this machine until Ctrl-C. For a cluster: serve run serve_configs/prod.yaml."""
    from prodcat.demonstration import serve_until_stopped

    carry_out(lambda say: serve_until_stopped(bundle, keys=keys, host=host, port=port, say=say), as_json=False)


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

    carry_out(lambda _: change_keys(file, name, rate=rate, burst=burst, revoke=revoke), as_json)


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

    carry_out(lambda say: run_promote(bundle, store, canary=canary, say=say), as_json)


@app.command()
def rollback(store: Store = Path("runs/models"), as_json: AsJson = False) -> None:
    """Take the canary away; without one, go back to the bundle before."""
    from prodcat.promoting import rollback as run_rollback

    carry_out(lambda _: run_rollback(store), as_json)
