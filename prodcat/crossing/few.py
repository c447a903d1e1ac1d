"""What so many labelled products of a left-out platform buy: the words fitted again with samples of growing size (training/words.py), and the answers
corrected by them (model/correction.py)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse import hstack

from prodcat.crossing.combined import described, steps
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.features import Read
from prodcat.crossing.models import View, Worded
from prodcat.decoding import decode
from prodcat.evaluation.cross_platform import Inputs
from prodcat.evaluation.metrics import ancestor_sums, hierarchical, truncate
from prodcat.model.correction import Evidence, draw, fit_correction, of_description
from prodcat.model.words import Words
from prodcat.training.words import Refit, ends_of


def curve(
    read: Read,
    inputs: Inputs,
    by_view: Mapping[View, np.ndarray],
    words: Worded | None,
    rows: np.ndarray,
    asked: np.ndarray,
    pool: np.ndarray,
    known: np.ndarray,
    profile: CrossProfile,
) -> list[dict[str, Any]]:
    """One row a size: {labelled, draws, f1, lowest, highest}, over the products at `asked`; sizes the pool does not have are left out.

    Args:
        by_view, words: what models say of the products `rows` (models.fusions, models.words).
        asked, pool: places in `rows`: what is judged, and what labelled samples are drawn from.
        known: bool [n of the sample], the products that the models learned from.
    """
    config, sample, seed = profile.cross_platform, read.sample, profile.seed
    places = np.concatenate([asked, pool])
    # Only these are asked for, again and again.
    views = {view: logits[places] for view, logits in by_view.items()}
    taught = _Taught(read, inputs, views, words, rows[places], known, profile)
    asked, pool = np.arange(len(asked)), np.arange(len(asked), len(places))
    target = sample.nodes[rows[places][asked]]
    targets = read.layout.end_targets(sample.targets[rows[places]])
    found = []
    for size in config.labelled:
        if size > len(pool):
            continue
        values = []
        for number in range(config.labelled_draws):
            chosen = pool[np.array(draw(len(pool), size, seed + number))]
            evidence = taught.by(chosen, targets[chosen])
            correction = fit_correction(evidence.rows(chosen), targets[chosen], read.layout, config.correction, seed, scaled=False)
            pred = decode(correction.correct(evidence.rows(asked)), read.layout, profile.hierarchy.decoder).nodes
            values.append(hierarchical(ancestor_sums(truncate(pred, target, sample.tree), target, sample.tree))["f1"])
        found.append({"labelled": size, "draws": len(values), "f1": float(np.mean(values)), "lowest": min(values), "highest": max(values)})
    return found


class _Taught:
    """n products as a correction reads them, with the words fitted again.

    Args:
        by_view, words, known: as for `curve`; the first two of these products.
        rows: int [n], in the sample.
    """

    def __init__(
        self,
        read: Read,
        inputs: Inputs,
        by_view: Mapping[View, np.ndarray],
        words: Worded | None,
        rows: np.ndarray,
        known: np.ndarray,
        profile: CrossProfile,
    ) -> None:
        self._read, self._inputs, self._by_view, self._rows, self._profile = read, inputs, by_view, rows, profile
        descriptions, kinds = profile.cross_platform.descriptions, inputs.split("+")
        names = [name for name, kind in read.reads.items() if kind in kinds]
        column = {name: list(read.reads).index(name) for name in names}
        self._vectors = {name: read.data.vectors[name][rows] for name in names}
        self._present = {name: read.data.present[rows, column[name]] for name in names}
        having = {name: known & read.data.present[:, column[name]] for name in names}
        self._centres = {
            name: read.data.vectors[name][own].mean(axis=0) if own.any() else np.zeros_like(read.data.vectors[name][0])
            for name, own in having.items()
        }
        twice = described(read)[rows] & descriptions
        if read.by_description is not None and descriptions:
            for name in [name for name in names if read.reads[name] == "text"]:
                self._centres[of_description(name)] = self._centres[name]
                self._vectors[of_description(name)] = read.by_description.vectors[name][rows]
                self._present[of_description(name)] = read.by_description.present[rows, column[name]] & twice
        self._words = words if "text" in kinds else None
        self._terms = None
        if self._words is not None:
            model, size = Words.load(self._words.folder), len(read.sample.keys)
            titles = model.matrix([read.texts[row] or "" for row in rows.tolist()])
            others = model.matrix([read.texts[size + row] or "" for row in rows.tolist()])
            self._refit = Refit(model, profile.seed)
            self._each = {False: titles, True: others}
            self._terms = hstack([titles, others.multiply(twice[:, None])]).tocsr() if descriptions else titles

    def by(self, chosen: np.ndarray, targets: np.ndarray) -> Evidence:
        """Args: chosen: the labelled ones; targets: int [k, D] columns."""
        words, layout = self._words, self._read.layout
        if words is not None:
            adjustment = self._refit.adjustment(self._each[False][chosen], ends_of(targets, layout))
            said = {which: self._refit.words.weigh(terms, layout, adjustment) for which, terms in self._each.items()}
            words = Worded(said, words.folder)
        logits = steps(self._read, self._by_view, words, self._rows, self._inputs, self._profile)[-1][1]
        return Evidence(logits, self._terms, self._vectors, self._present, self._centres)
