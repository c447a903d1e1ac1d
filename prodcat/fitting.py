"""`fit`: the stages in their order, each skipped when its result is already there for the same inputs. Knows the order and nothing else.

    catalog -> encoders -> features -> stage one, stage two -> calibration, gate -> bundle

A run folder holds one folder a step; a run that was broken off goes on where it stopped (run_folder.py). `tune` and `compare` go on from `prepare`.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prodcat import __version__
from prodcat.augmenting import write_augmented
from prodcat.calibrating import StageLogits, StagesOnMasked, calibrate, check_enough
from prodcat.catalog.crosswalked import Crosswalk
from prodcat.catalog.mapping import FeedMapping
from prodcat.decoding import averaged
from prodcat.described import write_described
from prodcat.encoders.distributed import Source, embed_sources
from prodcat.encoders.encoder import EncoderConfig, load
from prodcat.errors import TrainingError
from prodcat.experts import Experts, ready_experts
from prodcat.ingesting import catalog_of_run
from prodcat.labelled import Labelled, Vectors, labelled, texts_of
from prodcat.masked import write_masked
from prodcat.masking import CategoryMask
from prodcat.overlay import Overlay, read_overlay
from prodcat.prediction.bundle import ENCODERS, STAGE_ONE, STAGE_TWO, Bundle, write_bundle
from prodcat.prediction.cascade import CascadeSettings
from prodcat.prediction.multimodal_stage import MultimodalStageSettings, encoder_towers, fused_logits
from prodcat.prediction.preparing import STAGE_ONE_VECTOR, ModalitySettings
from prodcat.prediction.text_stage import TextStage
from prodcat.profile import FitConfig
from prodcat.readying import Place, made_here, ready_encoder
from prodcat.run_folder import Progress, Steps, note_run
from prodcat.stages import Prepared, fit_stage_one, fit_stage_two
from prodcat.start import Start
from prodcat.taxonomy import HeadLayout, Taxonomy, labelled_stops
from prodcat.training.encoders import EncoderTraining
from prodcat.training.fusion_stage import FusionStageTask, trained_fusion, write_stage_two
from prodcat.versioning import history_of, versions_of

# In a run's folder: train and validation products without category words.
MASKED = "masked/products.parquet"
# Training products as another shop might show them.
AUGMENTED = "augmented/products.parquet"
# Validation products by their descriptions.
DESCRIBED = "described/products.parquet"


def prepare(
    sources: Sequence[str],
    out: Path,
    config: FitConfig,
    *,
    mapping: FeedMapping | None = None,
    taxonomy: Taxonomy | None = None,
    crosswalk: Crosswalk | None = None,
    labels: Path | None = None,
    change_test_labels: bool = False,
    start: Start | None = None,
    on_progress: Progress = print,
) -> Prepared:
    """Feeds or one catalog folder -> catalog, encoders, features, stage one in OUT. Assumes a cluster is joined.

    Args:
        labels: reviewed labels to lay over the catalog's (overlay.py); what they change of train and validation is trained anew.
        change_test_labels: they may change test products too; training does not see it.
        start: another run, whose encoders, features and weights are gone on from; None: all is made anew.

    Raises:
        OverlayError: reviewed labels that do not fit the catalog.
        TrainingError: the catalog has no labelled product in train or in validation.
        ConfigError: stage_two.modalities names a feature set that there is not.
    """
    modalities = config.stage_two.chosen({name: encoder.family for name, encoder in config.encoders.items()})
    # Ray's workers have working folders of their own.
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(out, on_progress)
    catalog = catalog_of_run(sources, out, config.ingest, mapping, taxonomy, crosswalk, steps, on_progress)
    note_run(out, str(catalog.path), config)
    tree = catalog.taxonomy
    if tree is None:
        raise TrainingError(f"{catalog.path}: no product has a label; map the feed's category columns to `path` (see README, Your own catalog)")
    overlay = read_overlay(labels, catalog, tree, change_test=change_test_labels) if labels else Overlay()
    if overlay.labels:
        on_progress(f"reviewed labels: {overlay.counts()}")
    parts = labelled(catalog, tree, config.stage_one_encoder.reading, overlay)
    digest = parts["train"].digest
    for split in ("train", "validation"):
        if len(parts[split]) == 0:
            raise TrainingError(f"{catalog.path}: no labelled product fell into {split}; the catalog has {catalog.summary()}; give more products")
    check_enough(len(parts["validation"]), config.backoff, config.conformal)
    layout = HeadLayout(tree, labelled_stops(tree, parts["train"].targets) if config.hierarchy.stop == "labelled" else ())
    on_progress("labelled products: " + ", ".join(f"{split} {len(part):,}" for split, part in parts.items()))
    masked = None
    if config.masked_titles:
        learned = {split: parts[split] for split in ("train", "validation")}
        masked = write_masked(catalog, learned, CategoryMask(tree), config.stage_one_encoder.reading, out / MASKED)
        on_progress(f"masked titles: {len(masked['train']):,} training products are shown to stage two once more, without category words")
        if not any(len(part) for part in masked.values()):
            masked = None

    files, limits = catalog.product_files(), config.ingest.pictures.limits
    place = Place(out, files, tree, limits, config.scaling, steps, on_progress)

    def ready(name: str, encoder: EncoderConfig, training: EncoderTraining | None, adaptation: EncoderTraining | None = None) -> tuple[Path, str]:
        return start.encoder(name, out, steps) if start else ready_encoder(name, encoder, training, adaptation, parts["train"], place)

    stage_one_folder, key_one_encoder = ready("stage_one", config.stage_one_encoder, config.stage_one_pretraining)
    folders, keys = {}, {}
    for name, encoder_config in config.encoders.items():
        if name not in modalities.values():
            continue
        training = config.pretraining.get(name, EncoderTraining())
        folders[name], keys[name] = ready(name, encoder_config, training, config.adaptation.get(name))

    if start is not None:
        start.features(out)
    augmented = described = None
    if config.augmentation is not None:
        augmented = write_augmented(files, parts["train"], tree, config.augmentation, config.stage_one_encoder.reading, limits, out / AUGMENTED)
        on_progress(f"augmentation: {len(augmented):,} training products are shown to stage two once more, as another shop might show them")
    if config.stage_two.descriptions:
        described = write_described(catalog, parts["validation"], config.stage_one_encoder.reading, out / DESCRIBED)
    variants = {
        "features_masked": (masked, MASKED, ["text"]),
        "features_augmented": (augmented, AUGMENTED, ["image", "text"]),
        "features_described": (described, DESCRIBED, ["text"]),
    }
    shown = {"features": Source(files, out / "features")}
    shown |= {name: Source([str(out / file)], out / name, reads) for name, (there, file, reads) in variants.items() if there}
    # Embedding finds for itself what is there already, down to the single product.
    on_progress("features ...")
    embedded = embed_sources(
        shown, folders, config.embed, limits=limits, on_progress=lambda name, done, to_do: on_progress(f"{name}: {done:,} of {to_do:,}")
    )
    features, others, varied, by_description = (embedded.get(name, {}) for name in ("features", *variants))

    key_one = fit_stage_one(stage_one_folder, parts, layout, out, config, steps, [digest, key_one_encoder], start, on_progress)
    stage_one = TextStage(out / STAGE_ONE / "exported", threads=config.scaling.threads) if STAGE_ONE_VECTOR in modalities else None
    vectors = Vectors({name: found for name, found in features.items() if name in modalities}, stage_one)
    # The same images, other texts.
    twice = None if masked is None else (masked, Vectors({name: others.get(name, features[name]) for name in vectors.sets}, stage_one))
    second = None
    if described:
        second = described, Vectors({name: by_description.get(name, features[name]) for name in vectors.sets}, stage_one)
    third = (augmented, Vectors({name: varied[name] for name in vectors.sets}, stage_one)) if augmented else None
    return Prepared(catalog, layout, overlay, parts, folders, vectors, twice, third, second, (digest, key_one, *keys.values()))


def fit(
    sources: Sequence[str],
    out: Path,
    config: FitConfig,
    *,
    mapping: FeedMapping | None = None,
    taxonomy: Taxonomy | None = None,
    crosswalk: Crosswalk | None = None,
    labels: Path | None = None,
    change_test_labels: bool = False,
    start: Start | None = None,
    on_progress: Progress = print,
) -> Bundle:
    """Feeds or one catalog folder -> OUT/bundle. Assumes a cluster is joined. Arguments and errors as in `prepare`."""
    prepared = prepare(
        sources,
        out,
        config,
        mapping=mapping,
        taxonomy=taxonomy,
        crosswalk=crosswalk,
        labels=labels,
        change_test_labels=change_test_labels,
        start=start,
        on_progress=on_progress,
    )
    catalog, overlay = prepared.catalog, prepared.overlay
    parts, folders, vectors, tree = prepared.parts, prepared.encoders, prepared.vectors, prepared.tree
    out = out.absolute()
    steps = Steps(out, on_progress)
    task, key_two = fit_stage_two(prepared, out, config, steps, start, on_progress)
    versions = versions_of(history_of(catalog), tree)
    made_of = [*prepared.keys, config.hierarchy]
    experts, key_experts = ready_experts(
        config.stage_two, parts["train"], catalog.product_files(), folders, prepared.layout, out, config.seed, steps, made_of, on_progress
    )

    def make_bundle() -> None:
        settings, figures = _cascade(task, experts, prepared, out, config, on_progress)
        places = {name: (name, "text") for name in [STAGE_ONE_VECTOR]}
        places |= {name: (encoder, tower.reads) for name, (encoder, tower) in encoder_towers({n: load(f) for n, f in folders.items()}).items()}
        used = {m.name: places[m.name] for m in task.modalities}
        stage_two = MultimodalStageSettings(
            modalities=tuple(ModalitySettings(name=m.name, encoder=used[m.name][0], tower=used[m.name][1], dim=m.dim) for m in task.modalities),
            fusion=task.config,
            members=config.stage_two.members,
            image_limits=config.ingest.pictures.limits,
            words=config.stage_two.words.text if config.stage_two.words and experts.words else None,
            names=experts.modality,
            descriptions=config.stage_two.descriptions,
            known=tuple(sorted({*parts["train"].platforms, *parts["validation"].platforms})),
            made_here=made_here(folders, used) if config.stage_two.unknown_platforms == "pretrained" else (),
        )

        def fill(folder: Path) -> None:
            shutil.copytree(out / STAGE_ONE / "exported", folder / STAGE_ONE)
            write_stage_two(folder / STAGE_TWO, task, out / STAGE_TWO / "model.safetensors", stage_two)
            experts.save(folder / STAGE_TWO)
            for name, source in folders.items():
                shutil.copytree(source, folder / ENCODERS / name)

        write_bundle(
            out / "bundle",
            tree=tree,
            settings=settings,
            encoders={m.name: vectors.fingerprints[m.name] for m in task.modalities},
            # A product whose label was dropped because a model doubted it is no fair test of a model.
            seen=[*parts["train"].keys, *parts["validation"].keys, *overlay.dropped],
            training={
                "prodcat": __version__,
                "catalog": catalog.digest,
                "labels": {name: count for name, count in (overlay.counts() or {}).items() if name != "test"},
                "products": {split: len(part) for split, part in parts.items()},
                "seed": config.seed,
                "calibration": figures,
                "config": config.model_dump(mode="json"),
                **({"gone_on_from": start.bundle.version} if start is not None else {}),
            },
            fill=fill,
            versions=versions,
        )

    # The digest of a bundle is over its content; half of one is no use.
    if (out / "bundle").exists() and not (out / "bundle" / "manifest.json").exists():
        shutil.rmtree(out / "bundle")
    trust = [config.hierarchy, config.calibration, config.gate, config.backoff, config.conformal, *([versions] if versions.earlier else [])]
    steps.run(
        "bundle",
        [*prepared.keys, key_two, key_experts, config.stage_two.model_dump(include={"names", "descriptions", "unknown_platforms"}), *trust],
        out / "bundle",
        make_bundle,
    )
    return Bundle.open(out / "bundle")


def _cascade(
    task: FusionStageTask, experts: Experts, prepared: Prepared, out: Path, config: FitConfig, on_progress: Progress
) -> tuple[CascadeSettings, dict[str, Any]]:
    """What both stages say of the validation products, stage one as it will serve, quantized -> how the cascade answers."""
    layout = prepared.layout
    stage_one = TextStage(out / STAGE_ONE / "exported", threads=config.scaling.threads)
    fusion = trained_fusion(task, out / STAGE_TWO / "model.safetensors", config.stage_two.members)

    def one(part: Labelled) -> StageLogits:
        with_text = np.array([text is not None for text in part.texts], dtype=bool)
        logits = np.zeros((len(part), len(layout)), dtype=np.float32)
        logits[with_text] = stage_one.read([text for text in part.texts if text is not None])[0]
        return StageLogits(logits, with_text)

    def two(part: Labelled, sources: Vectors, files: Sequence[str]) -> StageLogits:
        vectors, present = sources.of(part)
        words = config.stage_two.words
        texts = [None] * len(part) if words is None else texts_of(files, part.keys, words.text)
        here = {name: present[:, column] for column, name in enumerate(vectors)}
        logits = experts.beside(fused_logits(fusion, vectors, present), texts, vectors, here, layout)
        return StageLogits(logits, np.asarray(present.any(axis=1)))

    files, validation = prepared.catalog.product_files(), prepared.parts["validation"]
    whole = two(validation, prepared.vectors, files)
    if prepared.described is not None:
        twins, sources = prepared.described
        place = {key: row for row, key in enumerate(validation.keys)}
        rows = np.array([place[key] for key in twins.keys], dtype=np.int64)
        whole.logits[rows] = averaged([whole.logits[rows], two(twins, sources, [str(out / DESCRIBED)]).logits], layout, config.hierarchy.decoder)
    masked = None
    if prepared.masked is not None and len(prepared.masked[0]["validation"]):
        parts, sources = prepared.masked
        shown = parts["validation"]
        masked = StagesOnMasked(one(shown), two(shown, sources, [str(out / MASKED)]), layout.end_targets(shown.targets), shown.platforms)
    return calibrate(
        one(validation),
        whole,
        layout.end_targets(validation.targets),
        layout,
        platforms=validation.platforms,
        text=config.stage_one_encoder.reading,
        decoder=config.hierarchy.decoder,
        calibration=config.calibration,
        gate=config.gate,
        backoff=config.backoff,
        conformal=config.conformal,
        masked=masked,
        known=[*prepared.parts["train"].platforms, *validation.platforms],
        on_progress=on_progress,
    )
