"""Fusions and baselines of every fold, trained side by side on Ray, and their answers kept, so that what is done is not done again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from prodcat.crossing.config import CrossProfile
from prodcat.crossing.features import Read
from prodcat.distributed import each
from prodcat.evaluation.cross_platform import Inputs, RelatedShops
from prodcat.evaluation.new_shop_baselines import NewShopBaselineConfig, Readable, answer, names
from prodcat.model.fusion import Kind
from prodcat.run_folder import Progress
from prodcat.taxonomy import HeadLayout
from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.in_memory import FusionData
from prodcat.training.search import FusionInputs, Job, train_each
from prodcat.training.words import WordsConfig, fit_words

# What a model was asked to read: the inputs, and whether a description stood in the place of the title.
View = tuple[Inputs, bool]
# In the place of a platform: nothing is left out.
NONE = ""
# Labelled products of a platform that corrections draw from.
POOL = 2000


@dataclass(frozen=True)
class Store:
    """Answers by what they were made for, one safetensors file each.

    Args:
        digest: of the sample and the features: everything that all answers depend on.
    """

    folder: Path
    digest: str

    def file(self, *made_for: Any) -> Path:
        text = "\n".join([self.digest, *map(str, made_for)])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.safetensors"

    def put(self, file: Path, values: Mapping[str, np.ndarray]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, part)
        part.replace(file)


def views(read: Read) -> list[View]:
    """Everything that a model is asked to read."""
    kinds = set(read.reads.values())
    found: list[View] = [("text", False)] if "text" in kinds else []
    if "text" in kinds and read.by_description is not None:
        found.append(("text", True))
    if "image" in kinds:
        found.append(("image", False))
    if len(kinds) == 2:
        found.append(("text+image", False))
        if read.by_description is not None:
            found.append(("text+image", True))
    return found


def scored_rows(read: Read, platform: str) -> np.ndarray:
    """The products that a platform is judged by; for NONE, all that no model is trained on."""
    sample = read.sample
    return np.flatnonzero(sample.scored & (sample.tested if platform == NONE else sample.platforms == platform))


def known_rows(read: Read, platform: str, related: RelatedShops) -> np.ndarray:
    """The products of the other platforms, which the model without this one knows, but for those it was trained on. For NONE there are no others."""
    sample = read.sample
    if platform == NONE:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(sample.scored & sample.tested & ~np.isin(sample.platforms, list(related.of(platform))))


def learned_rows(read: Read, platform: str, related: RelatedShops, among: np.ndarray) -> np.ndarray:
    """Of the products `among` (bool [n]), those that a model without this platform may see; for NONE, all."""
    return np.flatnonzero(among & ~np.isin(read.sample.platforms, list(related.of(platform))))


def pool_rows(read: Read, platform: str, seed: int) -> np.ndarray:
    """Labelled products of the platform that are not of its test split, which a correction may learn from; for NONE there are none."""
    sample = read.sample
    if platform == NONE:
        return np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero((sample.platforms == platform) & sample.learned & ~sample.tested)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:POOL])


def asked_rows(read: Read, platform: str, related: RelatedShops, seed: int) -> np.ndarray:
    """All products a model without this platform is asked: `scored_rows`, `known_rows`, `pool_rows`, in this order; some may stand twice."""
    return np.concatenate([scored_rows(read, platform), known_rows(read, platform, related), pool_rows(read, platform, seed)])


@dataclass(frozen=True)
class Pseudo:
    """Answers to products nobody has labelled, as labels.

    Args:
        targets: int32 [n, D] of all the sample's products; -1 where there is none.
        kept: platform -> places in the sample's products by their titles, by their titles again, and by their descriptions.
        digest: of all that.
    """

    targets: np.ndarray
    kept: Mapping[str, np.ndarray]
    digest: str


@dataclass(frozen=True)
class Bench:
    """What all models of a run share."""

    read: Read
    related: RelatedShops
    profile: CrossProfile
    store: Store
    on_progress: Progress


def _taught(read: Read, pseudo: Pseudo | None) -> FusionData:
    """The sample's products; those that are augmented; with pseudo-labels, then all products by their titles once more, and by their descriptions."""
    data = read.data if read.augmented is None else read.data.and_then(read.augmented[1])
    if pseudo is None:
        return data
    by_title = FusionData(read.data.vectors, read.data.present, pseudo.targets)
    described = read.by_description if read.by_description is not None else read.data
    return data.and_then(by_title).and_then(FusionData(described.vectors, described.present, pseudo.targets))


def _taught_rows(read: Read, learned: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """Places in `_taught`: the products `learned`, these augmented, and those with a pseudo-label that are `kept` (Pseudo.kept)."""
    rows, size, extra = [learned], len(read.sample.keys), 0
    if read.augmented is not None:
        extra = len(read.augmented[0])
        rows.append(size + np.flatnonzero(np.isin(read.augmented[0], learned)))
    if kept is not None:
        # Counted as if the sample's products were followed by these alone.
        rows.append(kept + extra)
    return np.concatenate(rows)


def fusions(
    bench: Bench, platforms: Sequence[str], kinds: Sequence[Kind] | None = None, pseudo: Pseudo | None = None
) -> dict[tuple[str, Kind], dict[View, np.ndarray]]:
    """(platform left out, fusion) -> view -> logits float32 [n, C] of `asked_rows`.

    Args:
        platforms: NONE among them for models that leave none out.
        kinds: of fusion; None: the profile's.
        pseudo: answers to learn from as well.
    """
    read, related, profile, store = bench.read, bench.related, bench.profile, bench.store
    config, sample = profile.cross_platform, read.sample
    seen = views(read)
    # All views one after the other: a job asks its platform's rows of each.
    asked = _of_view(read, seen[0])
    for view in seen[1:]:
        asked = asked.and_then(_of_view(read, view))
    inputs = FusionInputs(_taught(read, pseudo), read.data, read.reads, sample.tree)
    jobs: dict[tuple[str, Kind], tuple[Job, Path]] = {}
    usable = read.data.present.any(axis=1)
    for platform in platforms:
        learned = learned_rows(read, platform, related, sample.learned & usable)
        chosen = learned_rows(read, platform, related, sample.chosen & usable)
        # A balanced loss counts labels: none of the platform's may be among them.
        objective = profile.objective(profile.stage_two.loss, read.layout, sample.targets[learned])
        rows = asked_rows(read, platform, related, profile.seed)
        for kind in kinds or config.kinds:
            fusion = profile.stage_two.fusion.model_copy(update={"kind": kind})
            loop = config.loop.model_copy(update={"seed": profile.seed})
            settings = FusionStageConfig(fusion=fusion, loop=loop, loss=profile.stage_two.loss)
            job = Job(
                f"{kind}, " + (f"without {platform}" if platform else "with all") + (", self-trained" if pseudo else ""),
                tuple(read.reads),
                settings,
                _taught_rows(read, learned, None if pseudo is None else pseudo.kept[platform]),
                chosen,
                np.concatenate([rows + number * len(sample.keys) for number in range(len(seen))]),
                objective,
            )
            made_for = (settings.model_dump_json(), objective, platform, sorted(related.of(platform)), seen, pseudo.digest if pseudo else "")
            jobs[platform, kind] = job, store.file("fusion", *made_for)
    to_do = {id(job): file for job, file in jobs.values() if not file.is_file()}
    trained = train_each(
        [job for job, file in jobs.values() if not file.is_file()],
        inputs,
        asked,
        cpus=config.cpus_per_model,
        threads=config.threads,
        gpus=config.gpus_per_model,
    )
    for number, (job, logits) in enumerate(trained, len(jobs) - len(to_do) + 1):
        store.put(to_do[id(job)], {"logits": logits})
        bench.on_progress(f"model {number}/{len(jobs)}: {job.name}")
    found = {}
    for place, (_, file) in jobs.items():
        parts = np.split(load_file(file)["logits"], len(seen))
        found[place] = dict(zip(seen, parts, strict=True))
    return found


@dataclass(frozen=True)
class Worded:
    """What a model of words says of `asked_rows`. Args: logits: by description or not -> float32 [n, C]; folder: its own (words.Words.load)."""

    logits: Mapping[bool, np.ndarray]
    folder: Path


@dataclass(frozen=True)
class _WordsJob:
    """Args: train: places in titles, titles again, descriptions; asked: rows; folder: gets the model."""

    name: str
    train: np.ndarray
    asked: np.ndarray
    folder: Path


def words(bench: Bench, platforms: Sequence[str], pseudo: Pseudo | None = None) -> dict[str, Worded]:
    """Platform left out -> what the words say without it. Empty where the profile has no model of words; arguments as for `fusions`."""
    read, related, profile, store = bench.read, bench.related, bench.profile, bench.store
    settings, sample = profile.stage_two.words, read.sample
    if settings is None or "text" not in read.reads.values():
        return {}
    size = len(sample.keys)
    readable = np.array([bool(text) for text in read.texts[:size]])
    own = sample.targets if pseudo is None else pseudo.targets
    targets = read.layout.end_targets(np.concatenate([sample.targets, own, own]))
    jobs: dict[str, tuple[_WordsJob, Path]] = {}
    for platform in platforms:
        learned = learned_rows(read, platform, related, sample.learned & readable)
        if pseudo is not None:
            learned = np.concatenate([learned, pseudo.kept[platform]])
        made_for = (settings.model_dump_json(), profile.seed, platform, sorted(related.of(platform)), pseudo.digest if pseudo else "")
        file = store.file("words", *made_for)
        asked = asked_rows(read, platform, related, profile.seed)
        jobs[platform] = _WordsJob(f"words without {platform or 'none'}", learned, asked, file.with_suffix("")), file
    to_do = {id(job): file for job, file in jobs.values() if not file.is_file()}
    work = [job for job, file in jobs.values() if not file.is_file()]
    cpus = profile.cross_platform.cpus_per_model
    done = each(_words_of, work, read.texts, targets, read.layout, settings, profile.seed, cpus=cpus, name=lambda job: job.name)
    for number, (job, found) in enumerate(done, 1):
        store.put(to_do[id(job)], found)
        bench.on_progress(f"words {number}/{len(to_do)}: {job.name}")
    answers = {platform: (load_file(file), job.folder) for platform, (job, file) in jobs.items()}
    return {platform: Worded({False: found["titles"], True: found["descriptions"]}, folder) for platform, (found, folder) in answers.items()}


def _words_of(
    job: _WordsJob, texts: Sequence[str | None], targets: np.ndarray, layout: HeadLayout, config: WordsConfig, seed: int
) -> dict[str, np.ndarray]:
    size = len(texts) // 2
    shown = [texts[place if place < size else place - size] or "" for place in job.train.tolist()]
    model = fit_words(shown, targets[job.train], layout, config, seed)
    model.save(job.folder)
    views = {"titles": job.asked, "descriptions": job.asked + size}
    return {name: model.read([texts[place] or "" for place in rows.tolist()], layout) for name, rows in views.items()}


def _of_view(read: Read, view: View) -> FusionData:
    inputs, description = view
    data = read.by_description if description and read.by_description is not None else read.data
    return read.shown(data, inputs)


@dataclass(frozen=True)
class _Baseline:
    """One baseline of one fold."""

    fold: tuple[str, Inputs]
    name: str
    train: np.ndarray
    asked: np.ndarray


def baselines(bench: Bench, folds: Sequence[tuple[str, Inputs]]) -> dict[tuple[str, Inputs], dict[str, np.ndarray]]:
    """(platform left out, inputs) -> baseline -> int [n] nodes of `scored_rows`."""
    read, related, profile, store = bench.read, bench.related, bench.profile, bench.store
    config, sample = profile.cross_platform, read.sample
    titles, descriptions = (
        [text if counts else None for text, counts in zip(texts, sample.texts_count, strict=True)] for texts in (sample.titles, sample.descriptions)
    )
    present = {name: read.data.present[:, column] for column, name in enumerate(read.reads)}
    readable = Readable(titles, descriptions, {**read.data.vectors, **read.plain}, present)
    to_leaf = sample.tree.is_leaf[sample.nodes]
    jobs: list[tuple[_Baseline, Path]] = []
    for platform, inputs in folds:
        train = learned_rows(read, platform, related, sample.learned & to_leaf)
        for name in names(read.reads, inputs):
            job = _Baseline((platform, inputs), name, train, scored_rows(read, platform))
            jobs.append((job, store.file("baseline", name, config.baseline.model_dump_json(), profile.seed, platform, sorted(related.of(platform)))))
    # The same baseline of another fold of the same platform is the same baseline.
    to_do = {file: job for job, file in jobs if not file.is_file()}
    file_of = {id(job): file for file, job in to_do.items()}
    done = each(
        _answer, list(to_do.values()), readable, sample.nodes, config.baseline, profile.seed, cpus=config.cpus_per_model, name=lambda job: job.name
    )
    for number, (job, nodes) in enumerate(done, 1):
        store.put(file_of[id(job)], {"nodes": nodes})
        bench.on_progress(f"baseline {number}/{len(to_do)}: {job.name}, without {job.fold[0]}")
    found: dict[tuple[str, Inputs], dict[str, np.ndarray]] = {fold: {} for fold in folds}
    for job, file in jobs:
        found[job.fold][job.name] = load_file(file)["nodes"]
    return found


def _answer(job: _Baseline, readable: Readable, nodes: np.ndarray, config: NewShopBaselineConfig, seed: int) -> np.ndarray:
    return answer(job.name, readable.rows(job.train), nodes[job.train], readable.rows(job.asked), config, seed)
