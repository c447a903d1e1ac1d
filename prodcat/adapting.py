"""`adapt`: a bundle and some labelled products of a platform it does not know, to a bundle that answers that platform better: in seconds, on one
machine: the model of words is fitted again with them, and the answers are corrected. Knows the order and no arithmetic.

Products of the catalog's test split are not learned from: they say what was gained. Where the bundle has seen a product, it is left out of that.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field
from scipy.sparse import csr_matrix

from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.contracts import PRODUCTS, Product, products_of
from prodcat.decoding import decode
from prodcat.errors import FeedError
from prodcat.evaluation.cross_platform import figures
from prodcat.model.correction import Correction, CorrectionConfig, Evidence, draw, fit_correction
from prodcat.model.words import Adjustment
from prodcat.prediction.bundle import ENCODERS, STAGE_ONE, STAGE_TWO, Bundle, write_bundle, write_settings
from prodcat.prediction.gate import PlatformGate
from prodcat.prediction.multimodal_stage import MultimodalStage, MultimodalStageSettings, Readings
from prodcat.prediction.preparing import SETTINGS, correction_file
from prodcat.taxonomy import CategoryPath, HeadLayout, Taxonomy, format_path
from prodcat.training.words import Refit, ends_of

Progress = Callable[[str], None]
_AT_ONCE = 256


class AdaptConfig(Config):
    """How a bundle is adapted."""

    correction: CorrectionConfig = CorrectionConfig()
    products: int | None = Field(None, ge=1, description="labelled products that are learned from, drawn by the seed; null: all")
    curve: tuple[int, ...] = Field((20, 100, 500), description="what fewer would have bought: sizes that are tried and told, none is kept")
    judged: int = Field(2000, ge=0, description="test products that before and after are measured on, at most; 0: none")
    seed: int = Field(0, description="of the drawing, and of the interval")


@dataclass(frozen=True)
class Adapted:
    """The new bundle, and {platform, learned_from, labels_cut, judged, before, after, curve}: hierarchical figures of stage two on test products."""

    bundle: Bundle
    found: dict[str, Any]


def adapt(bundle: Bundle, catalog: Catalog, out: Path, config: AdaptConfig, *, platform: str | None = None, on_progress: Progress = print) -> Adapted:
    """Write the adapted bundle to OUT. Products of the platform are then answered by stage two alone, corrected.

    Args:
        platform: of the catalog's; None where it has one.

    Raises:
        FeedError: the catalog has no such platform, several and none is named, or no labelled product of it.
        BundleError: OUT is not empty.
    """
    table = catalog.products(["key", "platform", "path"])
    table = table.filter(pc.is_valid(table["path"]))
    platform = _chosen(table, platform, catalog)
    table = table.filter(pc.equal(table["platform"], platform))
    splits = catalog.splits()
    places = pc.index_in(table["key"], value_set=splits["key"].combine_chunks())
    split = np.array(splits["split"].take(places).to_pylist(), dtype=object)
    keys = np.array(table["key"].to_pylist(), dtype=object)
    seen = bundle.has_seen(keys.tolist())
    pool, test = keys[split != "test"], keys[(split == "test") & ~seen]
    if not len(pool):
        raise FeedError(f"{catalog.path}: all {len(keys)} labelled products of {platform!r} fell into the test split; give more labelled products")
    learned = pool[np.array(draw(len(pool), config.products or len(pool), config.seed))]
    judged = test[np.array(draw(len(test), config.judged, config.seed), dtype=np.int64)]

    stage = bundle.multimodal_stage()
    on_progress(f"{platform}: reading {len(learned):,} labelled products to learn from, {len(judged):,} to judge by")
    paths = dict(zip(table["key"].to_pylist(), table["path"].to_pylist(), strict=True))
    own, asked = _read(stage, catalog, learned.tolist()), _read(stage, catalog, judged.tolist())
    nodes, cut = _nodes(bundle.tree, [paths[key] for key in own.keys])
    known = np.flatnonzero(nodes >= 0)
    for path, count in cut.most_common(5):
        on_progress(f"  the bundle's tree has no {format_path(path)} ({count} products): read as far up as it has")
    if not len(known):
        raise FeedError(f"{catalog.path}: no label of {platform!r} begins with a category of the bundle's tree; map them (`crosswalk propose`)")
    own, nodes = own.rows(known), nodes[known]
    targets = bundle.layout.end_targets(bundle.tree.path_indices[nodes])
    teach = _Teaching(stage, bundle.layout, own, targets, config)

    truth, _ = _nodes(bundle.tree, [paths[key] for key in asked.keys])
    rows = np.flatnonzero(truth >= 0)
    groups = splits["group"].take(pc.index_in(pa.array(asked.keys, pa.string()), value_set=splits["key"].combine_chunks()))
    group = np.array(groups.to_pylist(), dtype=object)[rows]

    tempered = 1 / _temperatures(bundle, platform)

    def measured(logits: np.ndarray) -> dict[str, Any]:
        pred = decode(logits, bundle.layout, bundle.settings.decoder).nodes
        return dict(figures(pred[rows], truth[rows], group, bundle.tree, config.seed)["hierarchical"])

    final = teach.correction(len(nodes), scaled=True)
    found: dict[str, Any] = {"platform": platform, "learned_from": len(nodes), "labels_cut": sum(cut.values()), "judged": len(rows)}
    if len(rows):
        sizes = [size for size in config.curve if size < len(nodes)]
        found["before"], found["after"] = measured(teach.evidence(asked, None).logits * tempered), measured(teach.corrected(asked, final))
        found["curve"] = [{"labelled": size, **measured(teach.corrected(asked, teach.correction(size)))} for size in sizes]
    return Adapted(_with(bundle, stage.settings, out, platform, final, own.keys), found)


@dataclass(frozen=True)
class _Products:
    """n products as stage two reads them without knowing their platform.

    Args:
        terms: Preparation.terms; None without a model of words.
    """

    keys: list[str]
    readings: Readings
    terms: csr_matrix | None

    def rows(self, chosen: np.ndarray) -> "_Products":
        """Args: chosen: row numbers, each once."""
        terms = None if self.terms is None else self.terms[chosen]
        return _Products([self.keys[row] for row in chosen.tolist()], self.readings.rows(chosen), terms)


class _Teaching:
    """What the first so many labelled products teach.

    Args:
        targets: int [n, D] columns (HeadLayout.end_targets).
    """

    def __init__(self, stage: MultimodalStage, layout: HeadLayout, own: _Products, targets: np.ndarray, config: AdaptConfig) -> None:
        self._stage, self._layout, self._own, self._targets, self._config = stage, layout, own, targets, config
        words = stage.preparation.words if own.terms is not None else None
        self._refit = Refit(words, config.seed) if words is not None else None

    def correction(self, count: int, scaled: bool = False) -> Correction:
        """Args: scaled: as for fit_correction."""
        own, targets, adjustment = self._own.rows(np.arange(count)), self._targets[:count], None
        if self._refit is not None and own.terms is not None:
            adjustment = self._refit.adjustment(own.terms[:, : len(self._refit.words.idf)], ends_of(targets, self._layout))
        evidence = self.evidence(own, adjustment)
        return replace(fit_correction(evidence, targets, self._layout, self._config.correction, self._config.seed, scaled), adjustment=adjustment)

    def corrected(self, products: _Products, correction: Correction) -> np.ndarray:
        """float32 [n, C]."""
        return correction.correct(self.evidence(products, correction.adjustment))

    def evidence(self, products: _Products, adjustment: Adjustment | None) -> Evidence:
        """Logits as the words say them when adjusted."""
        readings, stage = products.readings, self._stage
        if self._refit is not None and products.terms is not None:
            words, size = self._refit.words, len(self._refit.words.idf)
            parts = [products.terms[:, start : start + size] for start in range(0, products.terms.shape[1], size)]
            said = [words.weigh(part.tocsr(), self._layout, adjustment) for part in parts]
            readings = readings.with_words(said[0], said[1] if len(said) > 1 else None)
        seen = stage.seen(readings)
        vectors, present = ({name: both[which] for name, both in seen.items()} for which in (0, 1))
        return Evidence(stage.answered(readings), products.terms, vectors, present, stage.centres)


def _chosen(table: pa.Table, platform: str | None, catalog: Catalog) -> str:
    have = Counter(table["platform"].to_pylist())
    listed = ", ".join(f"{name} ({count:,})" for name, count in have.most_common()) or "none"
    if platform is None and len(have) == 1:
        return next(iter(have))
    if platform is None or platform not in have:
        said = "which platform? name one with --platform" if platform is None else f"no labelled product is of the platform {platform!r}"
        raise FeedError(f"{catalog.path}: {said}; labelled are {listed}")
    return platform


def _read(stage: MultimodalStage, catalog: Catalog, keys: Sequence[str]) -> _Products:
    """These products, in the order of `keys`; those that stage two cannot read are left out."""
    rank = {key: place for place, key in enumerate(keys)}
    wanted = pa.array(keys, type=pa.string())
    products: list[Product] = []
    for file in catalog.product_files() if keys else ():
        part = pq.read_table(file, partitioning=None).cast(PRODUCTS)
        products += products_of(part.filter(pc.is_in(part["key"], value_set=wanted)))
    products.sort(key=lambda product: rank[product.key])
    readings, readable = [], []
    for start in range(0, max(len(products), 1), _AT_ONCE):
        prepared = stage.prepare(products[start : start + _AT_ONCE])
        readings.append(stage.readings(prepared))
        readable.append(prepared.readable)
    terms = stage.preparation.terms(products) if stage.settings.words is not None else None
    found = _Products([product.key for product in products], Readings.joined(readings), terms)
    return found.rows(np.flatnonzero(np.concatenate(readable)))


def _nodes(tree: Taxonomy, paths: Sequence[CategoryPath]) -> tuple[np.ndarray, Counter[CategoryPath]]:
    """int64 [n], the deepest category of each path that the tree has, -1 for none; and the paths that it does not have whole."""
    nodes, cut = np.full(len(paths), -1, dtype=np.int64), Counter[CategoryPath]()
    have = {category.path: node for node, category in enumerate(tree.categories)}
    for row, given in enumerate(paths):
        path = tuple(given)
        if path not in have:
            cut[path] += 1
        for depth in range(len(path), 0, -1):
            if path[:depth] in have:
                nodes[row] = have[path[:depth]]
                break
    return nodes, cut


def _temperatures(bundle: Bundle, platform: str) -> np.ndarray:
    """float32 [C]: what the cascade divides stage two's logits of this platform by."""
    found = bundle.settings.calibration_two.by_column(bundle.layout)
    return np.ones_like(found) if bundle.settings.gate.foreign(platform) else found


def _with(bundle: Bundle, stage: MultimodalStageSettings, out: Path, platform: str, correction: Correction, learned: Sequence[str]) -> Bundle:
    """The bundle with one more correction, or with another in the place of the platform's."""
    # The cascade divides by them; a correction is scaled for its platform alone.
    correction = replace(correction, scale=correction.scale * _temperatures(bundle, platform))
    gate = bundle.settings.gate
    platforms = {**gate.platforms, platform: PlatformGate(threshold=1.0)}
    settings = bundle.settings.model_copy(update={"gate": gate.model_copy(update={"platforms": platforms})})
    names = [*stage.corrections] if platform in stage.corrections else [*stage.corrections, platform]

    def fill(folder: Path) -> None:
        for name in (STAGE_ONE, STAGE_TWO, ENCODERS):
            shutil.copytree(bundle.folder / name, folder / name)
        correction.save(folder / STAGE_TWO / correction_file(names.index(platform)))
        write_settings(folder / STAGE_TWO / SETTINGS, MultimodalStageSettings.model_validate({**stage.model_dump(), "corrections": names}))

    return write_bundle(
        out,
        tree=bundle.tree,
        settings=settings,
        encoders=bundle.manifest.encoders,
        seen=learned,
        also_seen=bundle.seen,
        training={**bundle.manifest.training, "adapted": {**bundle.manifest.training.get("adapted", {}), platform: len(learned)}},
        fill=fill,
        versions=bundle.versions,
    )
