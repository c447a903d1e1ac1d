"""`cross-platform`: every platform in turn as if it were new, with every kind of fusion, baselines, and the same model trained with it.

Encoders and features are made once, for no encoder here learns from a label; fusions and baselines are trained once a platform, side by side on Ray,
and what is done is not done again. Knows the order and no figure.

OUT/products.parquet      the products that are learned from or judged, a sample of the catalog's
OUT/encoders, OUT/features
OUT/models                answers of every model and baseline
OUT/cross_platform.md and .json
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prodcat.catalog.store import Catalog
from prodcat.crossing.combined import all_they_have, by_descriptions, inputs_of, pseudo_labels, steps
from prodcat.crossing.config import CrossProfile
from prodcat.crossing.features import read_sample
from prodcat.crossing.judged import Judge, Models, folds, shipped
from prodcat.crossing.models import NONE, Bench, Store, View, Worded, asked_rows, baselines, fusions, scored_rows, words
from prodcat.crossing.sample import draw
from prodcat.errors import FeedError
from prodcat.evaluation.cross_platform import RelatedShops, markdown
from prodcat.model.fusion import Kind
from prodcat.run_folder import Progress


@dataclass(frozen=True)
class Crossed:
    """What was found, and where it lies."""

    found: dict[str, Any]
    table: Path
    figures: Path


def cross_platform(catalog: Catalog, out: Path, profile: CrossProfile, on_progress: Progress = print) -> Crossed:
    """Write OUT/cross_platform.md and OUT/cross_platform.json. Assumes a cluster is joined. What is trained already is not trained again.

    Raises:
        FeedError: no platform has enough to be judged by; a platform is named that the catalog does not have.
        ConfigError: an encoder that is not the profile's or that would learn from labels, a group of related shops that fits no platform.
        TrainingError: no product is labelled.
    """
    out, config = out.absolute(), profile.cross_platform
    on_progress("drawing the sample ...")
    sample = draw(catalog, out / "products.parquet", config.sample, profile.seed, config.platforms)
    related = RelatedShops(config.related)
    related.check(set(sample.platforms.tolist()))
    read = read_sample(sample, out, profile, on_progress)
    left_out = folds(read, config)
    if not left_out:
        names, count = np.unique(sample.platforms[sample.scored].astype(str), return_counts=True)
        raise FeedError(
            f"{catalog.path}: no platform has {config.min_products} labelled products of {config.min_categories} categories that can be read; "
            f"labelled are {dict(zip(names.tolist(), count.tolist(), strict=True))}; lower min_products or min_categories"
        )
    on_progress("left out in turn: " + ", ".join(f"{platform} ({inputs})" for platform, inputs in left_out))
    store = Store(out / "models", "\n".join([sample.digest, *sorted(f"{name} {made}" for name, made in read.fingerprints.items())]))
    platforms = list(dict.fromkeys(platform for platform, _ in left_out))
    bench = Bench(read, related, profile, store, on_progress)
    logits = fusions(bench, [*platforms, NONE])
    worded = words(bench, [*platforms, NONE])
    answers = baselines(bench, left_out) if config.baselines else {}
    on_progress("figures ...")
    judge = Judge(read, related, Models(logits, worded, answers), profile)
    judged = shipped([judge.fold(fold) for fold in left_out])
    for fold in judged:
        on_progress(f"labelled products of {fold['platform']} ({fold['inputs']}) ...")
        judge.labelled(fold)
    if config.self_training is not None:
        # Of the fusion one would ship, and of no other: a training each.
        for kind in config.kinds:
            own = [fold for fold in judged if fold["shipped"]["name"] == kind]
            if own:
                of = list(dict.fromkeys(fold["platform"] for fold in own))
                again, its_words = _self_trained(bench, kind, platforms, of, logits, worded)
                for fold in own:
                    judge.self_trained(fold, again[fold["platform"], kind], its_words.get(fold["platform"]))
    found = {
        "catalog": {"digest": catalog.digest, "path": str(catalog.path)},
        "products": len(sample.keys),
        "platforms": len(set(sample.platforms.tolist())),
        "train_per_category": config.sample.train_per_category,
        "score_products": config.sample.score_products,
        "related": [list(group) for group in config.related],
        "seed": profile.seed,
        "folds": judged,
    }
    table, file = out / "cross_platform.md", out / "cross_platform.json"
    table.write_text(markdown(found), encoding="utf-8")
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return Crossed(found, table, file)


def _self_trained(
    bench: Bench,
    kind: Kind,
    platforms: Sequence[str],
    trained: Sequence[str],
    logits: Mapping[tuple[str, Kind], Mapping[View, np.ndarray]],
    worded: Mapping[str, Worded],
) -> tuple[Mapping[tuple[str, Kind], Mapping[View, np.ndarray]], Mapping[str, Worded]]:
    """Models of one kind that learned from the first ones' surest answers to the left-out platform as well: of the platforms `trained`."""
    read, profile = bench.read, bench.profile
    config, decoder = profile.cross_platform, profile.hierarchy.decoder
    assert config.self_training is not None
    answered, by_description = {}, {}
    for platform in platforms:
        asked, own = asked_rows(read, platform, bench.related, profile.seed), worded.get(platform)
        by_view, first = logits[platform, kind], len(scored_rows(read, platform))
        last = {inputs: steps(read, by_view, own, asked, inputs, profile)[-1][1] for inputs in inputs_of(read)}
        answered[platform] = all_they_have(read, last, asked)[:first]
        by_description[platform] = by_descriptions(read, by_view, own, asked, decoder)[:first]
    pseudo = pseudo_labels(read, answered, by_description, decoder, config.self_training)
    return fusions(bench, trained, [kind], pseudo), words(bench, trained, pseudo)
