"""The picture of a branch: every product a point, coloured by its cluster, with the clusters' names. Draws; decides nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prodcat.recategorization.clusters import Clusters

_APART = "#c8c8c8"
_POINTS = 60_000


def draw_map(file: Path, places: np.ndarray, clusters: Clusters, names: Sequence[str], title: str) -> None:
    """Write a PNG of 1,400 by 1,000 pixels.

    Args:
        places: float [n, 2].
        names: K captions; one that would cover another gives way to it, the largest cluster's first.
    """
    # Not pyplot: it keeps figures, and a backend, for the whole process.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title(f"{title}: {len(places):,} products, {len(clusters.members)} clusters, {len(clusters.apart):,} apart", loc="left", fontsize=13)
    # More points than that cover each other.
    step = max(1, len(places) // _POINTS)
    size = float(np.clip(4000 / max(1, len(places) / step) ** 0.75, 1.5, 40))
    apart = clusters.apart[::step]
    axes.scatter(places[apart, 0], places[apart, 1], s=size / 2, c=_APART, linewidths=0, label=None)
    colours = colormaps["tab20"]
    taken: list[tuple[float, float]] = []
    extent = np.ptp(places, axis=0) if len(places) else np.ones(2)
    for number, rows in enumerate(clusters.members):
        shown = rows[::step]
        axes.scatter(places[shown, 0], places[shown, 1], s=size, color=colours((number % 20) / 20 + 0.01), linewidths=0)
    for number, rows in enumerate(clusters.members):
        middle = np.median(places[rows], axis=0)
        spot = (float(middle[0]), float(middle[1]))
        while any(abs(spot[0] - x) < 0.11 * extent[0] and abs(spot[1] - y) < 0.025 * extent[1] for x, y in taken):
            spot = (spot[0], spot[1] + 0.026 * float(extent[1] or 1))
        taken.append(spot)
        style = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": colours((number % 20) / 20 + 0.01), "alpha": 0.85}
        axes.annotate(f"{names[number]} ({len(rows):,})", spot, ha="center", va="center", fontsize=9, bbox=style)
    figure.savefig(file)
