"""What so many labelled products of a left-out platform buy: its answers corrected by samples of growing size (model/correction.py)."""

from typing import Any

import numpy as np
from scipy.sparse import hstack

from prodcat.crossing.combined import described
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.features import Read
from prodcat.crossing.models import Worded
from prodcat.decoding import decode
from prodcat.evaluation.cross_platform import Inputs
from prodcat.evaluation.metrics import ancestor_sums, hierarchical, truncate
from prodcat.model.correction import Evidence, draw, fit_correction, of_description
from prodcat.model.words import Words


def curve(
    read: Read, inputs: Inputs, logits: np.ndarray, words: Worded | None, rows: np.ndarray, asked: np.ndarray, pool: np.ndarray, profile: CrossProfile
) -> list[dict[str, Any]]:
    """One row a size: {labelled, draws, f1, lowest, highest}, over the products at `asked`; sizes the pool does not have are left out.

    Args:
        logits: float [n, C] of the products `rows`, by these inputs.
        asked, pool: places in `rows`: what is judged, and what labelled samples are drawn from.
    """
    config, sample, seed = profile.cross_platform, read.sample, profile.seed
    evidence = _evidence(read, inputs, logits, words, rows, config.descriptions)
    own = evidence.rows(asked)
    target = sample.nodes[rows[asked]]
    targets = read.layout.end_targets(sample.targets[rows[pool]])
    found = []
    for size in config.labelled:
        if size > len(pool):
            continue
        values = []
        for number in range(config.labelled_draws):
            chosen = np.array(draw(len(pool), size, seed + number))
            correction = fit_correction(evidence.rows(pool[chosen]), targets[chosen], read.layout, config.correction, seed, scaled=False)
            pred = decode(correction.correct(own), read.layout, profile.hierarchy.decoder).nodes
            values.append(hierarchical(ancestor_sums(truncate(pred, target, sample.tree), target, sample.tree))["f1"])
        found.append({"labelled": size, "draws": len(values), "f1": float(np.mean(values)), "lowest": min(values), "highest": max(values)})
    return found


def _evidence(read: Read, inputs: Inputs, logits: np.ndarray, words: Worded | None, rows: np.ndarray, descriptions: bool) -> Evidence:
    kinds = inputs.split("+")
    names = [name for name, kind in read.reads.items() if kind in kinds]
    column = {name: list(read.reads).index(name) for name in names}
    vectors = {name: read.data.vectors[name][rows] for name in names}
    present = {name: read.data.present[rows, column[name]] for name in names}
    twice = described(read)[rows] & descriptions
    if read.by_description is not None and descriptions:
        for name in [name for name in names if read.reads[name] == "text"]:
            vectors[of_description(name)] = read.by_description.vectors[name][rows]
            present[of_description(name)] = read.by_description.present[rows, column[name]] & twice
    terms = None
    if words is not None and "text" in kinds:
        model, size = Words.load(words.folder), len(read.sample.keys)
        parts = [model.matrix([read.texts[row] or "" for row in rows.tolist()])]
        if descriptions:
            parts.append(model.matrix([(read.texts[size + row] or "") if too else "" for row, too in zip(rows.tolist(), twice, strict=True)]))
        terms = hstack(parts).tocsr()
    return Evidence(logits, terms, vectors, present)
