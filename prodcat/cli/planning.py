"""Commands about size: what a catalog will need, before anything is started."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from prodcat.cli.app import app, carry_out
from prodcat.cli.options import AsJson


class DeviceChoice(StrEnum):
    """Where stages run that can run on both."""

    cheapest = "cheapest"
    cpu = "cpu"
    gpu = "gpu"


@app.command("plan")
def plan(
    products: Annotated[int, typer.Option("--products", help="products of the catalog")],
    image_share: Annotated[float, typer.Option("--image-share", help="share of them with a photo, 0 to 1")],
    deadline: Annotated[float, typer.Option("--deadline", help="hours from the first node's start to the last answer")],
    gate_share: Annotated[float | None, typer.Option("--gate-share", help="share that goes to stage two; default: as measured")] = None,
    labelled: Annotated[
        int | None, typer.Option("--labelled", help="labelled products to fit on; 0: a bundle is there; default: at most 300,000")
    ] = None,
    embed_all: Annotated[bool, typer.Option("--embed-all", help="store the features of every product, not of the labelled ones alone")] = False,
    recategorize: Annotated[bool, typer.Option("--recategorize", help="look for new categories among all products; implies --embed-all")] = False,
    devices: Annotated[DeviceChoice, typer.Option("--devices", help="where stages run that can run on both")] = DeviceChoice.cheapest,
    throughputs: Annotated[
        Path | None, typer.Option("--throughputs", help="YAML of throughputs, or a benchmark's results (scale.json) laid over the packaged ones")
    ] = None,
    prices: Annotated[Path | None, typer.Option("--prices", help="YAML of node types and prices; default: the packaged ones, assumed")] = None,
    spot: Annotated[bool, typer.Option("--spot", help="spot prices for workers")] = False,
    as_json: AsJson = False,
) -> None:
    """What a catalog of that size needs: nodes, hours and money of every stage, and which of the numbers were measured. Starts nothing.

    The stages run one after the other on the fewest nodes that end by the deadline.
    """
    from prodcat.planning.plan import Request
    from prodcat.planning.report import lines, plan_from_files

    request = Request(products, image_share, deadline, gate_share, labelled, embed_all, recategorize, devices.value, spot)
    carry_out(lambda _: plan_from_files(request, throughputs, prices), as_json, lines)
