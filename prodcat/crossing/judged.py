"""One fold's answers to figures: as a new shop, against baselines, against the same model trained with it, and what is different. Knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prodcat.crossing.combined import Steps, steps
from prodcat.crossing.config import CrossPlatformConfig, CrossProfile
from prodcat.crossing.features import Read
from prodcat.crossing.few import curve
from prodcat.crossing.models import NONE, View, Worded, asked_rows, known_rows, pool_rows, scored_rows
from prodcat.decoding import decode
from prodcat.evaluation import shift
from prodcat.evaluation.cross_platform import INPUTS, Answered, Inputs, RelatedShops, against, best, figures, verdict
from prodcat.evaluation.metrics import ancestor_sums, truncate
from prodcat.model.fusion import Kind
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


@dataclass(frozen=True)
class Models:
    """What all models say, of every fold.

    Args:
        logits: as models.fusions returns them, and words as models.words does; of every platform, and of NONE.
        answers: as models.baselines returns them; empty without baselines.
    """

    logits: Mapping[tuple[str, Kind], Mapping[View, np.ndarray]]
    words: Mapping[str, Worded]
    answers: Mapping[Fold, Mapping[str, np.ndarray]]


class Judge:
    """Everything that the figures of all folds are made from."""

    def __init__(self, read: Read, related: RelatedShops, models: Models, profile: CrossProfile) -> None:
        self._read, self._related, self._models, self._profile = read, related, models, profile
        self._kinds = profile.cross_platform.kinds

    def fold(self, fold: Fold) -> dict[str, Any]:
        """{platform, inputs, classes, kinds, baselines, best_baseline, verdict, shift}; see evaluation/cross_platform.py for what each holds."""
        platform, inputs = fold
        sample, seed = self._read.sample, self._profile.seed
        rows = scored_rows(self._read, platform)
        own = self._read.readable(inputs)[rows]
        target, groups = sample.nodes[rows][own], sample.groups[rows][own]
        kinds: dict[str, dict[str, Any]] = {}
        preds: dict[str, np.ndarray] = {}
        for kind in self._kinds:
            parts = [(part, logits[: len(rows)][own]) for part, logits in self._steps(platform, kind, inputs)]
            if self._profile.cross_platform.priors is not None:
                parts.append(("priors re-estimated", self._with_priors(parts[-1][1], platform)))
            preds[kind] = self._nodes(parts[-1][1])
            kinds[kind] = {
                "unseen": self._figures(preds[kind], target, groups),
                "parts": [{"part": part, **self._figures(self._nodes(each), target, groups)["hierarchical"]} for part, each in parts],
                **self._against_known(fold, kind),
            }
        baselines = {name: nodes[own] for name, nodes in self._models.answers.get(fold, {}).items()}
        first = self._best_baseline(fold, target, own)
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

    def self_trained(self, found: dict[str, Any], again: Mapping[View, np.ndarray], words: Worded | None) -> None:
        """Adds to a fold, as `shipped` left it, what its fusion answers when it has learned from its surest answers too.

        Args:
            again, words: what models say that did, as for the platform in Models.
        """
        fold: Fold = (found["platform"], found["inputs"])
        rows = scored_rows(self._read, fold[0])
        own = self._read.readable(fold[1])[rows]
        target, groups = self._read.sample.nodes[rows][own], self._read.sample.groups[rows][own]
        logits = steps(self._read, again, words, self._asked(fold[0]), fold[1], self._profile)[-1][1][: len(rows)][own]
        pred, first = self._nodes(logits), self._best_baseline(fold, target, own)
        sample, seed = self._read.sample, self._profile.seed
        found["shipped"]["self_trained"] = {
            "figures": self._figures(pred, target, groups),
            "against_baseline": asdict(against(pred, first.pred, target, groups, sample.tree, seed)) if first else None,
        }

    def _best_baseline(self, fold: Fold, target: np.ndarray, own: np.ndarray) -> Answered | None:
        answers = [Answered(name, nodes[own]) for name, nodes in self._models.answers.get(fold, {}).items()]
        return best(answers, target, self._read.sample.tree) if answers else None

    def _against_known(self, fold: Fold, kind: Kind) -> dict[str, Any]:
        """On the platform's test products: the model without it, and the one trained with it."""
        platform, inputs = fold
        sample = self._read.sample
        asked, all_rows, places = self._asked(platform), scored_rows(self._read, NONE), self._tested(fold)
        same = self._read.readable(inputs)[all_rows] & (sample.platforms[all_rows] == platform)
        if not len(places):
            return {"unseen_on_test": None, "known": None}
        logits = self._steps(platform, kind, inputs)[-1][1]
        with_all = self._steps(NONE, kind, inputs)[-1][1]
        target, groups = sample.nodes[asked[places]], sample.groups[asked[places]]
        return {
            "unseen_on_test": self._figures(self._nodes(logits[places]), target, groups),
            "known": self._figures(self._nodes(with_all[same]), sample.nodes[all_rows][same], sample.groups[all_rows][same]),
        }

    def labelled(self, found: dict[str, Any]) -> None:
        """Adds to a fold, as `shipped` left it, what its fusion answers to test products when labelled products of the platform correct it."""
        platform, inputs = fold = found["platform"], found["inputs"]
        asked, places = self._asked(platform), self._tested(fold)
        pool = len(asked) - len(pool_rows(self._read, platform, self._profile.seed))
        pool_places = pool + np.flatnonzero(self._read.readable(inputs)[asked[pool:]])
        by_view, words = self._models.logits[platform, found["shipped"]["name"]], self._models.words.get(platform)
        found["shipped"]["labelled"] = (
            curve(self._read, inputs, by_view, words, asked, places, pool_places, self._known(platform), self._profile) if len(places) else []
        )

    def _tested(self, fold: Fold) -> np.ndarray:
        """Places in `_asked`: the platform's test products that can be read by these inputs."""
        rows = scored_rows(self._read, fold[0])
        return np.flatnonzero((self._read.sample.tested & self._read.readable(fold[1]))[rows])

    def _known(self, platform: str) -> np.ndarray:
        """bool [n of the sample]: the products that models without the platform learned from."""
        sample = self._read.sample
        return np.asarray(sample.learned & ~np.isin(sample.platforms, list(self._related.of(platform))))

    def _asked(self, platform: str) -> np.ndarray:
        return scored_rows(self._read, NONE) if platform == NONE else asked_rows(self._read, platform, self._related, self._profile.seed)

    def _steps(self, platform: str, kind: Kind, inputs: Inputs) -> Steps:
        models = self._models
        return steps(self._read, models.logits[platform, kind], models.words.get(platform), self._asked(platform), inputs, self._profile)

    def _figures(self, pred: np.ndarray, target: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        return figures(pred, target, groups, self._read.sample.tree, self._profile.seed)

    def _with_priors(self, logits: np.ndarray, platform: str) -> np.ndarray:
        """The platform's logits, float [n, C], under its own shares, which nothing but its answers tells."""
        config, layout, sample = self._profile.cross_platform.priors, self._read.layout, self._read.sample
        assert config is not None
        if self._profile.stage_two.loss.balance == "logit_adjustment":
            source = even_shares(layout)
        else:
            source = shares_of(sample.nodes[self._known(platform)], layout)
        target = reestimate(decode(logits, layout, self._profile.hierarchy.decoder).joint, source, layout, config)
        return np.asarray(logits + shift_by(target, source, layout, config.strength))

    def _nodes(self, logits: np.ndarray) -> np.ndarray:
        return decode(logits, self._read.layout, self._profile.hierarchy.decoder).nodes

    def _shift(self, fold: Fold, rows: np.ndarray) -> dict[str, Any]:
        """What is different, for the first kind of fusion, both sides read by titles and images: so what it loses is lost by the shift alone."""
        platform, inputs = fold
        read, sample, seed = self._read, self._read.sample, self._profile.seed
        kind = self._kinds[0]
        known = known_rows(read, platform, self._related)
        can = read.readable(inputs)[known]
        offset, size = len(scored_rows(read, platform)), len(known)
        known = known[can]
        logits = self._models.logits[platform, kind][inputs, False]
        pred = self._nodes(logits[offset : offset + size][can])
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


def shipped(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds to every fold the fusion that the folds of other shops speak for: what one would have shipped without labels of the platform. Those of the
    same inputs, or, where there are fewer than two, those of all."""
    for fold in found:
        strangers = [other for other in found if not set(other["left_out"]) & set(fold["left_out"])]
        alike = [other for other in strangers if other["inputs"] == fold["inputs"]]
        others = alike if len(alike) > 1 else strangers
        kinds = list(fold["kinds"])
        mean = {kind: float(np.mean([other["kinds"][kind]["unseen"]["hierarchical"]["f1"] for other in others])) if others else 0.0 for kind in kinds}
        name = max(kinds, key=lambda kind: mean[kind])
        row = fold["kinds"][name]
        fold["shipped"] = {"name": name, "figures": row["unseen"], "against_baseline": row["against_baseline"]}
    return list(found)
