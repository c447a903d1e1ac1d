"""metrics.json and report.html, the figures as a person reads them. Computes nothing that is not in the metrics; knows no table and no model.

The page is one file without scripts or links: it opens offline and can be mailed. Titles and category names are shop text and hostile until
escaped: autoescape is on, and the page's own policy forbids scripts.
"""

import base64
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from prodcat.errors import ImageError
from prodcat.evaluation.figures import f1_intervals, gate_curve, risk_curve
from prodcat.evaluation.mistakes import ErrorExample
from prodcat.evaluation.probes import MASKED_TITLE, NAMES
from prodcat.images import ImageLimits, decode

THUMBNAIL = 96
GALLERY = 24
METRICS, PAGE = "metrics.json", "report.html"
# What stands in metrics.json and on the page: `fit` judges a bundle again when it is another one than when it was judged. Count up with every change.
REPORT_FORMAT = 3


def write_report(metrics: dict[str, Any], out: Path, *, errors: Sequence[ErrorExample], title: str) -> Path:
    """Write metrics.json and report.html into a folder, made if need be.

    Args:
        metrics: from compose.evaluate; a caller that set products aside before may add `left_out` {seen, near_duplicates_of_seen}, `unreadable`,
            `small_leaves` {min_products, leaves, products}, `labels` {changed, dropped, test} and `cascade.cost`, which the page then names.
        out: the folder.
        errors: for the gallery, worst first (mistakes.worst_errors, with titles and images added); the first 24 are shown.
        title: the page's heading.

    Returns:
        the path of report.html.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / METRICS).write_text(json.dumps(metrics, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    page = out / PAGE
    page.write_text(render(metrics, errors=errors, title=title), encoding="utf-8")
    return page


def render(metrics: dict[str, Any], *, errors: Sequence[ErrorExample], title: str) -> str:
    """The page as text; arguments as for `write_report`."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: "\N{EN DASH}" if value is None else f"{100 * value:.2f}"
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["cost"] = lambda value: f"{value:.4g}"
    template = environment.from_string(resources.files("prodcat.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    gate, reliability = metrics["cascade"]["gate"], metrics["reliability"]
    risks = reliability["risk_coverage"]["curve"] if reliability else []
    return template.render(
        m=metrics,
        title=title,
        inputs=_inputs(metrics),
        probe_names=NAMES,
        intervals=_data_uri("image/svg+xml", f1_intervals(_interval_rows(metrics)).encode()),
        gate=gate,
        gate_plot=_data_uri("image/svg+xml", _gate_plot(gate).encode()) if gate and gate["curve"] else None,
        confidences=[*reliability["levels"].items(), ("Whole answers", reliability["answers"])] if reliability else [],
        risk_plot=_data_uri("image/svg+xml", risk_curve(risks).encode()) if len(risks) > 1 else None,
        gallery=[_card(example) for example in errors[:GALLERY]],
    )


def _gate_plot(gate: dict[str, Any]) -> str:
    # Under one threshold the outcome is the chosen point itself.
    return gate_curve(gate["threshold"], gate["curve"], gate["outcome"] if gate["platforms"] else None)


def _inputs(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of inputs: the probes, each baseline after the probe that reads what it reads."""
    rows = []
    for name, figures in metrics["probes"].items():
        rows.append({"name": NAMES.get(name, name), **figures})
        if name == MASKED_TITLE:
            rows += _baseline_row(metrics["masked_baseline"])
    # Without the probe the honest comparison is missing, so the figure is not shown either.
    return rows + _baseline_row(metrics["baseline"])


def _baseline_row(baseline: dict[str, Any]) -> list[dict[str, Any]]:
    return [] if "absent" in baseline else [{"left_out": 0, "seeds": None, **baseline, "name": f"Baseline: {baseline['name']}"}]


def _interval_rows(metrics: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    named = [("All products", metrics), *((NAMES.get(name, name), figures) for name, figures in metrics["probes"].items())]
    for name, baseline in (("Baseline, masked title", metrics["masked_baseline"]), ("Baseline", metrics["baseline"])):
        if "absent" not in baseline:
            named.append((name, baseline))
    return [(name, part["hierarchical"]["f1"], *part["hierarchical"]["f1_ci"]) for name, part in named if part["hierarchical"]]


def _card(example: ErrorExample) -> dict[str, Any]:
    """An error with its thumbnail; `note` says why there is none."""
    thumbnail, note = None, "no image"
    if example.image is not None:
        try:
            thumbnail, note = _thumbnail(example.image), ""
        except ImageError as error:
            note = error.reason.replace("_", " ")
    shared = 0
    while shared < min(len(example.truth), len(example.predicted)) and example.truth[shared] == example.predicted[shared]:
        shared += 1
    return {"example": example, "thumbnail": thumbnail, "note": note, "shared": shared}


def _thumbnail(data: bytes) -> str:
    """Encoded image -> a JPEG of at most 96 pixels a side, as a data URI. Raises ImageError."""
    image = decode(data, ImageLimits(), at_least=THUMBNAIL)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return _data_uri("image/jpeg", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
