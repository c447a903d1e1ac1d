"""`fit`: the stages in their order, each skipped when its result is already there for the same inputs. Knows the order and nothing else.

    catalog -> encoders -> features -> stage one, stage two -> temperatures, gate -> bundle

A run folder holds one folder a step; a run that was broken off goes on where it stopped (run_folder.py). `tune` and `compare` go on from `prepare`.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from prodcat import __version__
from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.distributed import ingest
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.decoding import greedy_nodes, path_log_probabilities, sibling_log_softmax
from prodcat.distributed import ClusterConfig
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.encoders.encoder import EncoderConfig, load, obtain
from prodcat.errors import TrainingError
from prodcat.labelled import Labelled, Vectors, labelled
from prodcat.prediction.bundle import ENCODERS, STAGE_ONE, STAGE_TWO, Bundle, write_bundle
from prodcat.prediction.calibration import fit_temperatures
from prodcat.prediction.cascade import CascadeSettings
from prodcat.prediction.distributed import ClassifyConfig
from prodcat.prediction.gate import GateConfig, choose_gate
from prodcat.prediction.multimodal_stage import STAGE_ONE_VECTOR, ModalitySettings, MultimodalStageSettings, encoder_towers, fused_logits
from prodcat.prediction.text_stage import TextStage
from prodcat.run_folder import Progress, Steps, note_run
from prodcat.taxonomy import Taxonomy
from prodcat.training.distributed import ScalingConfig, train_encoder
from prodcat.training.distributed import fit as fit_on_ray
from prodcat.training.encoders import EncoderTraining
from prodcat.training.fusion_stage import (
    FusionStageConfig,
    FusionStageTask,
    fusion_rows,
    join_members,
    modalities_of,
    trained_fusion,
    write_stage_two,
)
from prodcat.training.in_memory import FusionData
from prodcat.training.text_stage import TextStageConfig, export, text_rows, text_task


class FitConfig(Config):
    """A profile: everything `prodcat fit` may be told. Each part's own config says what its keys mean."""

    seed: int = Field(0, description="split, initial weights, batches, bootstrap")
    cluster: ClusterConfig = ClusterConfig()
    ingest: IngestConfig = IngestConfig()
    stage_one_encoder: EncoderConfig
    stage_one_pretraining: EncoderTraining | None = Field(EncoderTraining(), description="null: fine-tuned from where it starts")
    stage_one: TextStageConfig = TextStageConfig()
    encoders: dict[str, EncoderConfig] = Field(min_length=1, description="encoders of stage two, by name")
    pretraining: dict[str, EncoderTraining | None] = Field(
        {}, description="how an encoder that starts from scratch is trained, by the same names; null: not at all"
    )
    embed: EmbedConfig = EmbedConfig()
    stage_two: FusionStageConfig = FusionStageConfig()
    gate: GateConfig = GateConfig()
    scaling: ScalingConfig = ScalingConfig()
    classify: ClassifyConfig = Field(ClassifyConfig(), description="how the finished bundle is run over the test split")


@dataclass(frozen=True)
class Prepared:
    """All that comes before stage two.

    Args:
        parts: labelled products by split.
        encoders: name -> folder, of the encoders that stage two reads.
        vectors: of the modalities that stage two fuses.
        keys: of the steps that made the above.
    """

    catalog: Catalog
    tree: Taxonomy
    parts: Mapping[str, Labelled]
    encoders: Mapping[str, Path]
    vectors: Vectors
    keys: tuple[str, ...]

    def data(self, split: str) -> FusionData:
        """Labelled products of a split as stage two reads them."""
        return FusionData(*self.vectors.of(self.parts[split]), self.parts[split].targets)


def prepare(
    sources: Sequence[str],
    out: Path,
    config: FitConfig,
    *,
    mapping: FeedMapping | None = None,
    taxonomy: Taxonomy | None = None,
    on_progress: Progress = print,
) -> Prepared:
    """Feeds or one catalog folder -> catalog, encoders, features, stage one in OUT. Assumes a cluster is joined.

    Raises:
        TrainingError: the catalog has no labelled product in train or in validation.
        ConfigError: stage_two.modalities names a feature set that there is not.
    """
    modalities = config.stage_two.chosen({name: encoder.family for name, encoder in config.encoders.items()})
    # Ray's workers have working folders of their own.
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    steps = Steps(out, on_progress)
    catalog = _catalog(sources, out, config, mapping, taxonomy, steps, on_progress)
    note_run(out, str(catalog.path), config)
    tree = catalog.taxonomy
    if tree is None:
        raise TrainingError(f"{catalog.path}: no product has a label; map the feed's category columns to `path` (see README, Your own catalog)")
    parts = labelled(catalog, tree, config.stage_one_encoder.fields)
    for split in ("train", "validation"):
        if len(parts[split]) == 0:
            raise TrainingError(f"{catalog.path}: no labelled product fell into {split}; the catalog has {catalog.summary()}; give more products")
    on_progress("labelled products: " + ", ".join(f"{split} {len(part):,}" for split, part in parts.items()))

    stage_one_folder, key_one_encoder = _encoder(
        "stage_one", config.stage_one_encoder, config.stage_one_pretraining, parts["train"], catalog, tree, out, config, steps, on_progress
    )
    folders, keys = {}, {}
    for name, encoder_config in config.encoders.items():
        if name not in modalities.values():
            continue
        training = config.pretraining.get(name, EncoderTraining())
        folders[name], keys[name] = _encoder(name, encoder_config, training, parts["train"], catalog, tree, out, config, steps, on_progress)

    # Embedding finds for itself what is there already, down to the single product.
    on_progress("features ...")
    features = embed(
        catalog.product_files(),
        folders,
        out / "features",
        config.embed,
        limits=config.ingest.pictures.limits,
        on_progress=lambda name, done, to_do: on_progress(f"features {name}: {done:,} of {to_do:,}"),
    )

    key_one = _fit_stage_one(stage_one_folder, parts, tree, out, config, steps, [catalog.digest, key_one_encoder], on_progress)
    vectors = Vectors(
        {name: found for name, found in features.items() if name in modalities},
        TextStage(out / STAGE_ONE / "exported", threads=config.scaling.threads) if STAGE_ONE_VECTOR in modalities else None,
    )
    return Prepared(catalog, tree, parts, folders, vectors, (catalog.digest, key_one, *keys.values()))


def fit(
    sources: Sequence[str],
    out: Path,
    config: FitConfig,
    *,
    mapping: FeedMapping | None = None,
    taxonomy: Taxonomy | None = None,
    on_progress: Progress = print,
) -> Bundle:
    """Feeds or one catalog folder -> OUT/bundle. Assumes a cluster is joined. Raises as `prepare` does."""
    prepared = prepare(sources, out, config, mapping=mapping, taxonomy=taxonomy, on_progress=on_progress)
    catalog, tree, parts, folders, vectors = prepared.catalog, prepared.tree, prepared.parts, prepared.encoders, prepared.vectors
    out = out.absolute()
    steps = Steps(out, on_progress)
    task, key_two = _fit_stage_two(vectors, parts, tree, out, config, steps, list(prepared.keys), on_progress)

    def make_bundle() -> None:
        settings = _calibrate(task, vectors, parts["validation"], tree, out, config, on_progress)
        places = {name: (name, "text") for name in [STAGE_ONE_VECTOR]}
        places |= {name: (encoder, tower.reads) for name, (encoder, tower) in encoder_towers({n: load(f) for n, f in folders.items()}).items()}
        stage_two = MultimodalStageSettings(
            modalities=tuple(ModalitySettings(name=m.name, encoder=places[m.name][0], tower=places[m.name][1], dim=m.dim) for m in task.modalities),
            fusion=config.stage_two.fusion,
            members=config.stage_two.members,
            image_limits=config.ingest.pictures.limits,
        )

        def fill(folder: Path) -> None:
            shutil.copytree(out / STAGE_ONE / "exported", folder / STAGE_ONE)
            write_stage_two(folder / STAGE_TWO, task, out / STAGE_TWO / "model.safetensors", stage_two)
            for name, source in folders.items():
                shutil.copytree(source, folder / ENCODERS / name)

        write_bundle(
            out / "bundle",
            tree=tree,
            settings=settings,
            encoders={m.name: vectors.fingerprints[m.name] for m in task.modalities},
            seen=[*parts["train"].keys, *parts["validation"].keys],
            training={
                "prodcat": __version__,
                "catalog": catalog.digest,
                "products": {split: len(part) for split, part in parts.items()},
                "seed": config.seed,
                "config": config.model_dump(mode="json"),
            },
            fill=fill,
        )

    # The digest of a bundle is over its content; half of one is no use.
    if (out / "bundle").exists() and not (out / "bundle" / "manifest.json").exists():
        shutil.rmtree(out / "bundle")
    steps.run("bundle", [*prepared.keys, key_two, config.gate], out / "bundle", make_bundle)
    return Bundle.open(out / "bundle")


def _catalog(
    sources: Sequence[str],
    out: Path,
    config: FitConfig,
    mapping: FeedMapping | None,
    taxonomy: Taxonomy | None,
    steps: Steps,
    on_progress: Progress,
) -> Catalog:
    if len(sources) == 1 and (Path(sources[0]) / "catalog.json").is_file():
        return Catalog.open(sources[0])
    stamps = [f"{source} {Path(source).stat().st_mtime_ns} {Path(source).stat().st_size}" for source in sources if Path(source).exists()]
    inputs = [*sources, *stamps, config.ingest, mapping or "no mapping", taxonomy.hash if taxonomy else "no taxonomy"]

    def make() -> None:
        for line in ingest(sources, out / "catalog", config.ingest, mapping, taxonomy=taxonomy, on_progress=on_progress).lines():
            on_progress(f"  {line}")

    # A catalog that grows keeps the splits of the products it has.
    steps.run("catalog", inputs, out / "catalog", make, keep=True)
    return Catalog.open(out / "catalog")


def _encoder(
    name: str,
    encoder: EncoderConfig,
    training: EncoderTraining | None,
    train: Labelled,
    catalog: Catalog,
    tree: Taxonomy,
    out: Path,
    config: FitConfig,
    steps: Steps,
    on_progress: Progress,
) -> tuple[Path, str]:
    folder = out / "encoders" / name

    def make() -> None:
        obtained = obtain(encoder, folder / "untrained", [text for text in train.texts if text])
        on_progress(f"  {name}: {obtained.source}")
        if obtained.needs_training and training is not None:
            train_encoder(
                folder / "untrained",
                folder / "ready",
                training,
                product_files=catalog.product_files(),
                keys=train.keys,
                texts=train.texts,
                targets=train.targets,
                tree=tree,
                limits=config.ingest.pictures.limits,
                scaling=config.scaling,
                work=folder / "training",
                name=f"encoder {name}",
                on_progress=on_progress,
            )
            shutil.rmtree(folder / "untrained")
        else:
            shutil.move(folder / "untrained", folder / "ready")

    # What is taken as it is does not depend on the catalog; asking for it again would.
    key = steps.run(f"encoder {name}", [catalog.digest, encoder, training or "as it is", config.seed, tree.hash], folder, make)
    return folder / "ready", key


def _fit_stage_one(
    encoder: Path, parts: Mapping[str, Labelled], tree: Taxonomy, out: Path, config: FitConfig, steps: Steps, inputs: list[Any], on_progress: Progress
) -> str:
    folder = out / STAGE_ONE

    def make() -> None:
        task = text_task(encoder, tree, config.stage_one)
        tables = {}
        for split in ("train", "validation"):
            rows = [row for row, text in enumerate(parts[split].texts) if text]
            texts = [parts[split].texts[row] or "" for row in rows]
            tables[split] = text_rows(task, texts, parts[split].targets[rows])
        loop = config.stage_one.loop.model_copy(update={"seed": config.seed})
        weights = fit_on_ray(task, tables, loop=loop, scaling=config.scaling, out=folder, on_progress=on_progress)
        shutil.rmtree(folder / "exported", ignore_errors=True)
        export(task, weights, folder / "exported")

    return steps.run("stage one", [*inputs, config.stage_one, config.stage_one_encoder.fields, config.scaling, config.seed], folder, make)


def _fit_stage_two(
    sources: Vectors,
    parts: Mapping[str, Labelled],
    tree: Taxonomy,
    out: Path,
    config: FitConfig,
    steps: Steps,
    inputs: list[Any],
    on_progress: Progress,
) -> tuple[FusionStageTask, str]:
    folder = out / STAGE_TWO
    vectors, present = sources.of(parts["train"])
    task = FusionStageTask(modalities_of(vectors, present, sources.reads), tree, config.stage_two.fusion)

    def make() -> None:
        tables = {}
        for split in ("train", "validation"):
            of_split, here = (vectors, present) if split == "train" else sources.of(parts[split])
            rows = here.any(axis=1)
            tables[split] = fusion_rows({name: values[rows] for name, values in of_split.items()}, here[rows], parts[split].targets[rows])
        members = config.stage_two.members
        places = [folder] if members == 1 else [folder / f"member_{member}" for member in range(members)]
        weights = []
        for member, place in enumerate(places):
            if members > 1:
                on_progress(f"  member {member + 1} of {members}")
            loop = config.stage_two.loop.model_copy(update={"seed": config.seed + member})
            weights.append(fit_on_ray(task, tables, loop=loop, scaling=config.scaling, out=place, on_progress=on_progress))
        if members > 1:
            join_members(weights, folder / "model.safetensors")

    fingerprints = [f"{name} {fingerprint}" for name, fingerprint in sources.fingerprints.items()]
    return task, steps.run("stage two", [*inputs, *fingerprints, config.stage_two, config.scaling, config.seed], folder, make)


def _calibrate(
    task: FusionStageTask,
    sources: Vectors,
    validation: Labelled,
    tree: Taxonomy,
    out: Path,
    config: FitConfig,
    on_progress: Progress,
) -> CascadeSettings:
    """Temperatures of both stages and the gate, all on validation products; stage one as it will serve, quantized."""
    stage_one = TextStage(out / STAGE_ONE / "exported", threads=config.scaling.threads)
    with_text = np.array([text is not None for text in validation.texts])
    logits_one, _ = stage_one.read([text for text in validation.texts if text is not None])
    temperatures_one = fit_temperatures(logits_one, validation.targets[with_text], tree)
    vectors, present = sources.of(validation)
    fusion = trained_fusion(task, out / STAGE_TWO / "model.safetensors", config.stage_two.members)
    logits_two = fused_logits(fusion, vectors, present)
    readable = present.any(axis=1)
    temperatures_two = fit_temperatures(logits_two[readable], validation.targets[readable], tree)

    conditional_one = sibling_log_softmax(logits_one, tree, temperatures_one)
    nodes_one = greedy_nodes(conditional_one, tree)
    joint = path_log_probabilities(conditional_one, tree)
    confidence = np.full(len(validation), -np.inf)
    confidence[with_text] = np.exp(joint[np.arange(len(nodes_one)), nodes_one])
    answers_one = np.zeros(len(validation), dtype=np.int32)
    answers_one[with_text] = nodes_one
    answers_two = greedy_nodes(sibling_log_softmax(logits_two, tree, temperatures_two), tree)
    gate = choose_gate(confidence[readable], answers_one[readable], answers_two[readable], validation.nodes[readable], tree, config.gate)
    point = min(gate.curve, key=lambda point: abs(point.threshold - gate.threshold), default=None)
    if point is not None:
        on_progress(
            f"gate: {gate.threshold:.4f} on validation: hierarchical F1 {point.hierarchical_f1:.4f}, to stage two {point.stage_two_share:.1%}"
        )
    return CascadeSettings(
        text_fields=config.stage_one_encoder.fields, temperatures_one=temperatures_one, temperatures_two=temperatures_two, gate=gate
    )
