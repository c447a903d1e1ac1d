"""`prodcat plan`: files and options to a plan, as a summary for programs and as a table for people."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prodcat.planning.plan import Plan, Request, plan
from prodcat.planning.prices import Prices, read_prices
from prodcat.planning.throughputs import read_throughputs

NAMES = {
    "ingest_text": "read rows without a photo",
    "ingest_image": "read rows with a photo",
    "embed_text": "embed texts",
    "embed_image": "embed photos",
    "fit_stage_one": "train stage one",
    "fit_fusion": "train stage two's fusion",
    "stage_one": "classify, stage one",
    "stage_two": "classify, stage two",
    "recategorize": "cluster for new categories",
}


def plan_from_files(request: Request, throughputs: Path | None = None, prices: Path | None = None) -> dict[str, Any]:
    """The plan as a summary: what `prodcat plan --json` prints.

    Args:
        throughputs: a YAML file, or a benchmark's results as JSON; None: the packaged ones.
        prices: a YAML file; None: the packaged ones.

    Raises:
        ConfigError: names the file and key, or the option, and what to do.
    """
    paid = read_prices(prices)
    return summary(plan(request, read_throughputs(throughputs), paid), paid)


def summary(found: Plan, prices: Prices) -> dict[str, Any]:
    """Plain values of a plan and of the prices in it."""
    document = asdict(found)
    # The gate's share is measured until somebody gives another.
    document["figures"] = {name: figure.model_dump(exclude_none=True) for name, figure in found.figures.items()}
    if found.request.gate_share != found.figures["gate_share"].value:
        document["figures"]["gate_share"] = {"value": found.request.gate_share, "measured": False, "why": "given as --gate-share"}
    document["prices"] = {"measured": False, "why": prices.why, "date": prices.date, "kind": "spot" if found.request.spot else "on demand"}
    return document


def lines(document: dict[str, Any]) -> list[str]:
    """A summary for people: stages, steps, totals, how sure they are."""
    request, currency = document["request"], document["currency"]
    told = [
        f"{request['products']:,} products, {request['image_share']:.0%} with a photo, {request['labelled']:,} labelled to fit on, "
        f"{request['gate_share']:.1%} to stage two; {document['hours']:.2f} of {request['deadline_hours']:g} hours"
    ]
    if not document["stages"]:
        return [*told, "nothing to do: no node, no money"]
    told += ["", f"{'stage':<28}{'rows':>15} {'rows/s and unit':>19} {'unit hours':>12} {'nodes':>6} {'hours':>7}"]
    for stage in document["stages"]:
        rate = f"{stage['rows_per_second']:,.0f}/{stage['unit']} ({stage['basis'][0]})"
        told.append(
            f"{NAMES[stage['stage']]:<28}{stage['rows']:>15,} {rate:>19} {stage['unit_hours']:>12,.2f} {stage['nodes']:>6,} {stage['hours']:>7.2f}"
        )
    told += ["", f"{'step':<16}{'CPU nodes':>10}{'GPU nodes':>10}{'wall hours':>12}{'of it starting':>16}{currency + ' (a)':>14}"]
    for step in document["steps"]:
        counts = f"{step['cpu_nodes']:>10,}{step['gpu_nodes']:>10,}{step['hours']:>12.2f}{step['starting_hours']:>16.2f}"
        told.append(f"{step['step']:<16}{counts}{step['money']:>14,.2f}")
    told.append(f"{'head node':<16}{'':>20}{document['hours']:>12.2f}{'':>16}{document['head_money']:>14,.2f}")
    nodes = " and ".join(f"{count:,} {instance}" for instance, count in document["nodes"].items())
    told.append(f"{'all':<16}{'':>20}{document['hours']:>12.2f}{'':>16}{document['money']:>14,.2f}   at most {nodes} at once")
    told += ["", *_resources(document), *_certainty(document), *(f"mind: {note}" for note in document["notes"])]
    return told


def _resources(document: dict[str, Any]) -> list[str]:
    storage, memory = document["storage_gb"], document["memory_gb"]
    parts = ", ".join(f"{name} {size:,.1f}" for name, size in storage.items())
    kept = f"storage (a): {sum(storage.values()):,.1f} GB ({parts}), {document['storage_money_month']:,.2f} {document['currency']} a month"
    needed = (
        f"{memory['cpu']:.1f} GB a CPU node (m), {memory['gpu']:.1f} GB a GPU node (a), {memory['ingest_driver']:,.1f} GB for ingestion's driver (a)"
    )
    return [kept, f"memory: {needed}"]


def _certainty(document: dict[str, Any]) -> list[str]:
    prices = document["prices"]
    told = [
        "(m) measured, (a) assumed; a step ends when its slower kind of node does; money counts nodes' starts and idling before they are given back",
        f"money is assumed throughout: {prices['kind']} prices of {prices['date']}; {prices['why']}",
    ]
    assumed = [stage for stage in document["stages"] if stage["basis"] == "assumed"]
    told += [f"assumed: {NAMES[stage['stage']]}, {stage['rows_per_second']:,.0f} rows/s a {stage['unit']}: {stage['source']}" for stage in assumed]
    if document["effects"]:
        worst = document["effects"][0]
        effect = f"half of it makes the money {_share(worst['if_half'])}, twice {_share(worst['if_twice'])}"
        told.append(f"most uncertain: the assumed throughput of '{NAMES[worst['stage']]}' on a {worst['unit']}: {effect}")
    return told


def _share(share: float | None) -> str:
    return "impossible by the deadline" if share is None else f"{share:+.0%}"
