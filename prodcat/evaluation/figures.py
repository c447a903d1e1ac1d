"""The report's plots as SVG text. Knows figures, no HTML."""

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, ACCENT, PAPER = "#1d2733", "#66717f", "#1f5fbf", "#ffffff"
# Text stays text and ids are fixed: small files, and the same metrics give the same bytes.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prodcat",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#c9d0d8",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def gate_curve(threshold: float, curve: list[dict[str, Any]], by_platform: dict[str, Any] | None = None) -> str:
    """F1 of the whole cascade, and its cost, against the share that goes to stage two, one point a threshold; the chosen one is marked.

    Args:
        threshold: the chosen gate.
        curve: points {"threshold", "stage_two_share" (0 to 1), "f1" (0 to 1), "cost" (of 1,000 products)}, at least one.
        by_platform: such a point, without threshold, of all products under the thresholds of their platforms; None where there are none.
    """
    points = sorted(curve, key=lambda point: point["stage_two_share"])
    chosen = min(points, key=lambda point: abs(point["threshold"] - threshold))
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(4.4, 3.0)
        shares = [100 * point["stage_two_share"] for point in points]
        costs = axes.twinx()
        costs.plot(shares, [point["cost"] for point in points], color=MUTED, linewidth=1.2, linestyle="--")
        costs.plot([100 * chosen["stage_two_share"]], [chosen["cost"]], marker="o", markersize=6, color=MUTED, markeredgecolor=PAPER)
        costs.set_ylim(0, 1.1 * max(point["cost"] for point in points) or 1.0)
        costs.set_ylabel("cost of 1,000 products (dashed)")
        costs.spines["right"].set_visible(True)
        costs.ticklabel_format(useOffset=False, axis="y")
        # F1 over cost, whose axes would else be drawn on top.
        axes.set_zorder(costs.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.plot(shares, [100 * point["f1"] for point in points], color=ACCENT, linewidth=1.8, marker="o" if len(points) <= 40 else "", markersize=3)
        # The curve rises and flattens: there is room below to the right of it, and above to the left.
        marks = [(chosen, f"gate {threshold:.4f}", "o", (8, -22), "left")]
        if by_platform is not None:
            marks.append((by_platform, "by platform", "D", (-4, 12), "right"))
        for point, name, marker, beside, side in marks:
            at = 100 * point["stage_two_share"], 100 * point["f1"]
            axes.plot([at[0]], [at[1]], marker=marker, markersize=9 if marker == "o" else 7, color=ACCENT, markeredgecolor=PAPER)
            place = (at[0] - shares[0]) / (shares[-1] - shares[0] or 1.0)
            side = "left" if place < 0.25 else "right" if place > 0.65 else side
            axes.annotate(name, at, xytext=beside, textcoords="offset points", ha=side)
        axes.margins(y=0.25)
        axes.set_xlabel("answered by stage two, % of validation products")
        axes.set_ylabel("hierarchical F1, %")
        return _svg(figure)


def f1_intervals(rows: list[tuple[str, float, float, float]]) -> str:
    """Hierarchical F1 and its 95 % interval, one line a row, the first on top.

    Args:
        rows: (name, f1, low, high), 0 to 1, at least one.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(4.4, 0.75 + 0.42 * len(rows))
        for place, (_, f1, low, high) in enumerate(rows):
            color = ACCENT if place == 0 else MUTED
            axes.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2.2, solid_capstyle="round")
            axes.plot([100 * f1], [place], marker="o", markersize=7, color=color, markeredgecolor=PAPER)
            axes.annotate(f"{100 * f1:.2f}", (100 * f1, place), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9)
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows], color=INK)
        axes.set_ylim(len(rows) - 0.5, -0.75)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel("hierarchical F1, %")
        return _svg(figure)


def risk_curve(curve: list[dict[str, Any]]) -> str:
    """Risk against coverage, one point a threshold.

    Args:
        curve: points {"coverage", "risk", "threshold"}, 0 to 1, by rising coverage, at least one.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(4.4, 3.0)
        axes.plot([100 * point["coverage"] for point in curve], [100 * point["risk"] for point in curve], color=ACCENT, linewidth=1.8)
        axes.set_xlim(0, 102)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("answered, the surest first, % of products")
        axes.set_ylabel("wrong, % of those answered")
        return _svg(figure)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    axes = figure.subplots()
    axes.grid(axis="both", color="#edf0f3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.ticklabel_format(useOffset=False, axis="x")
    axes.ticklabel_format(useOffset=False, axis="y")
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
