"""Commands to begin with: the demo, the version, a look at the machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from prodcat import __version__
from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson, Out


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

    carry_out(lambda say: demonstrate(out, products=products, port=port, say=say), as_json)


@app.command()
def doctor(bundle: Annotated[Path | None, typer.Option(help="also check this bundle")] = None) -> None:
    """Check Ray, torch, GPU, encoders, ports and a bundle, and say what to do."""
    from prodcat.checkup import checks

    failed = False
    for check in checks(bundle):
        failed |= check.mark == "fail"
        print(f"{check.mark:4}  {check.name}: {check.found}" + (f"\n      -> {check.remedy}" if check.remedy else ""))
    sys.exit(1 if failed else 0)
