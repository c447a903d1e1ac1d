"""One fold's answers to figures: as a new shop, against baselines, against the same model trained with it, and what is different. Knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from prodcat.crossing.config import CrossPlatformConfig, CrossProfile
from prodcat.crossing.features import Read
from prodcat.crossing.models import NONE, View, known_rows, scored_rows
from prodcat.decoding import decode
from prodcat.evaluation import shift
from prodcat.evaluation.cross_platform import INPUTS, Answered, Inputs, RelatedShops, against, best, figures, verdict
from prodcat.evaluation.metrics import ancestor_sums, truncate
from prodcat.training.priors import even_shares, reestimate, shares_of
from prodcat.training.priors import shift as shift_by

Fold = tuple[str, Inputs]


def folds(read: Read, config: CrossPlatformConfig) -> list[Fold]:
    """Platforms, and inputs they can be judged by: enough products that have them, of enough categories."""
    sample, found = read.sample, []
    for platform in sorted(set(sample.platforms[sample.scored].tolist())):
        for inputs in INPUTS:
            rows = sample.scored & (sample.platforms == platform) & read.readable(inputs)
            if rows.sum() >= config.min_products and len(set(sample.nodes[rows].tolist())) >= config.min_categories:
                found.append((platform, inputs))
    return found


class Judge:
    """Everything that the figures of all folds are made from.

    Args:
        logits: as models.fusions returns them.
        answers: as models.baselines returns them; empty without baselines.
    """

    def __init__(
        self,
        read: Read,
        related: RelatedShops,
        logits: Mapping[tuple[str, Any], Mapping[View, np.ndarray]],
        answers: Mapping[Fold, Mapping[str, np.ndarray]],
        profile: CrossProfile,
    ) -> None:
        self._read, self._related, self._logits, self._answers, self._profile = read, related, logits, answers, profile
        self._kinds = profile.cross_platform.kinds

    def fold(self, fold: Fold) -> dict[str, Any]:
        """{platform, inputs, classes, kinds, baselines, best_baseline, verdict, shift}; see evaluation/cross_platform.py for what each holds."""
        platform, inputs = fold
        sample, seed = self._read.sample, self._profile.seed
        rows = scored_rows(self._read, platform)
        has = self._read.readable(inputs)
        own = has[rows]
        target, groups = sample.nodes[rows][own], sample.groups[rows][own]
        tested = sample.tested[rows][own]
        all_rows = scored_rows(self._read, NONE)
        same = has[all_rows] & (sample.platforms[all_rows] == platform)
        kinds: dict[str, dict[str, Any]] = {}
        preds: dict[str, np.ndarray] = {}
        for kind in self._kinds:
            by_view = self._logits[platform, kind]
            logits, reading = self._shown(by_view, inputs, rows)
            # Part by part, each on top of those before.
            steps = [("titles" if inputs != "image" else "image", by_view[inputs, False][: len(rows)][own])]
            if (inputs, True) in by_view:
                steps.append(("descriptions where surer", logits[: len(rows)][own]))
            if self._profile.cross_platform.priors is not None:
                steps.append(("priors re-estimated", self._with_priors(steps[-1][1], platform)))
            preds[kind] = self._nodes(steps[-1][1])
            row: dict[str, Any] = {
                "unseen": self._figures(preds[kind], target, groups),
                "reading": reading,
                "parts": [{"part": part, **self._figures(self._nodes(each), target, groups)["hierarchical"]} for part, each in steps],
                "unseen_on_test": None,
                "known": None,
            }
            if tested.any():
                with_all, _ = self._shown(self._logits[NONE, kind], inputs, all_rows, reading)
                row["unseen_on_test"] = self._figures(preds[kind][tested], target[tested], groups[tested])
                row["known"] = self._figures(self._nodes(with_all[same]), sample.nodes[all_rows][same], sample.groups[all_rows][same])
            kinds[kind] = row
        baselines = {name: nodes[own] for name, nodes in self._answers.get(fold, {}).items()}
        first = best([Answered(name, nodes) for name, nodes in baselines.items()], target, sample.tree) if baselines else None
        for kind in self._kinds:
            kinds[kind]["against_baseline"] = asdict(against(preds[kind], first.pred, target, groups, sample.tree, seed)) if first else None
        paths = sample.tree.path_indices[target]
        classes = "/".join(str(len(set(column[column >= 0].tolist()))) for column in paths.T)
        return {
            "platform": platform,
            "inputs": inputs,
            "left_out": sorted(self._related.of(platform)),
            "classes": classes,
            "kinds": kinds,
            "baselines": {name: self._figures(nodes, target, groups) for name, nodes in baselines.items()},
            "best_baseline": first.name if first else None,
            "verdict": verdict(preds, target, groups, sample.tree, seed),
            "shift": self._shift(fold, rows[own]),
        }

    def _figures(self, pred: np.ndarray, target: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        return figures(pred, target, groups, self._read.sample.tree, self._profile.seed)

    def _with_priors(self, logits: np.ndarray, platform: str) -> np.ndarray:
        """The platform's logits, float [n, C], under its own shares, which nothing but its answers tells."""
        config, layout, sample = self._profile.cross_platform.priors, self._read.layout, self._read.sample
        assert config is not None
        if self._profile.stage_two.loss.balance == "logit_adjustment":
            source = even_shares(layout)
        else:
            known = sample.learned & ~np.isin(sample.platforms, list(self._related.of(platform)))
            source = shares_of(sample.nodes[known], layout)
        target = reestimate(decode(logits, layout, self._profile.hierarchy.decoder).joint, source, layout, config)
        return np.asarray(logits + shift_by(target, source, layout, config.strength))

    def _nodes(self, logits: np.ndarray) -> np.ndarray:
        return decode(logits, self._read.layout, self._profile.hierarchy.decoder).nodes

    def _shown(self, by_view: Mapping[View, np.ndarray], inputs: Inputs, rows: np.ndarray, reading: str | None = None) -> tuple[np.ndarray, str]:
        """Logits of the products as they are read, and how: by their titles, or by descriptions where the model is surer of those.

        Args:
            rows: the products at the front of the logits; what comes after them is read by its title.
            reading: taken as given; None: chosen.
        """
        logits = by_view[inputs, False]
        other = by_view.get((inputs, True))
        if other is None or self._read.by_description is None:
            return logits, "title"
        text = np.array([kind == "text" for kind in self._read.reads.values()])
        described = np.zeros(len(logits), dtype=bool)
        described[: len(rows)] = self._read.by_description.present[rows][:, text].any(axis=1)
        if reading is None:
            reading = surer(logits[described], other[described], self._read, self._profile.hierarchy.decoder) if described.any() else "title"
        return (np.where(described[:, None], other, logits), reading) if reading == "description" else (logits, reading)

    def _shift(self, fold: Fold, rows: np.ndarray) -> dict[str, Any]:
        """What is different, for the first kind of fusion, both sides read by titles and images: so what it loses is lost by the shift alone."""
        platform, inputs = fold
        read, sample, seed = self._read, self._read.sample, self._profile.seed
        kind = self._kinds[0]
        known = known_rows(read, platform, self._related)
        can = read.readable(inputs)[known]
        known = known[can]
        offset = len(scored_rows(read, platform))
        logits = self._logits[platform, kind][inputs, False]
        pred = self._nodes(logits[offset:][can])
        target = sample.nodes[known]
        sums = ancestor_sums(truncate(pred, target, sample.tree), target, sample.tree)
        own = self._nodes(logits[np.searchsorted(scored_rows(read, platform), rows)])
        unseen = self._figures(own, sample.nodes[rows], sample.groups[rows])["hierarchical"]["f1"]
        areas: dict[str, float | None] = {"text": None, "image": None}
        weights = [("labels", shift.label_weights(target, sample.nodes[rows]))]
        for name, reads in read.reads.items():
            if reads in inputs.split("+") and areas[reads] is None:
                areas[reads], odds = shift.telling_apart(read.data.vectors[name][known], read.data.vectors[name][rows], seed)
                weights.append(({"text": "words", "image": "photos"}[reads], odds))
        words = None
        if "text" in inputs.split("+"):
            words = shift.vocabulary(*([sample.titles[row] or "" for row in each] for each in (known, rows)))
        return {
            "of": kind,
            "known_products": len(known),
            "labels": shift.label_divergence(target.tolist(), sample.nodes[rows].tolist()),
            "vocabulary": words,
            "text_area": areas["text"],
            "image_area": areas["image"],
            "steps": shift.explained(sums, weights, unseen) if len(known) else [],
        }


def surer(titles: np.ndarray, descriptions: np.ndarray, read: Read, decoder: Any) -> str:
    """ "title" or "description": what a platform's products are to be read by, judged without a label.

    Ours. A model is unsure of a title that is only a name ("Rosé"), and of a description that only names materials: the mean probability of its
    answers says which of the two it can read.

    Args:
        titles, descriptions: float [n, C], logits of the same products by either.
    """
    sure = [float(np.exp(_best(decode(logits, read.layout, decoder).joint, read)).mean()) for logits in (titles, descriptions)]
    return "description" if sure[1] > sure[0] else "title"


def _best(joint: np.ndarray, read: Read) -> np.ndarray:
    return np.asarray(joint[:, read.layout.ends].max(axis=1))


def shipped(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds to every fold the fusion that the other folds of the same inputs speak for: what one would have shipped without labels of the platform."""
    for fold in found:
        others = [other for other in found if other["inputs"] == fold["inputs"] and not set(other["left_out"]) & set(fold["left_out"])]
        kinds = list(fold["kinds"])
        mean = {kind: float(np.mean([other["kinds"][kind]["unseen"]["hierarchical"]["f1"] for other in others])) if others else 0.0 for kind in kinds}
        name = max(kinds, key=lambda kind: mean[kind])
        row = fold["kinds"][name]
        fold["shipped"] = {"name": name, "figures": row["unseen"], "against_baseline": row["against_baseline"], "reading": row["reading"]}
    return list(found)
