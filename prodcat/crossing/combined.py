"""From what models say of each reading of a product to one answer, part by part; and from answers that are sure to labels for the next training.

Shapes: n products asked, C columns.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from prodcat.crossing.config import CrossProfile, SelfTrainingConfig
from prodcat.crossing.features import Read
from prodcat.crossing.models import Pseudo, View, Worded, scored_rows
from prodcat.decoding import DecoderName, averaged, decode
from prodcat.evaluation.cross_platform import Inputs

Steps = list[tuple[str, np.ndarray]]


def steps(read: Read, by_view: Mapping[View, np.ndarray], words: Worded | None, rows: np.ndarray, inputs: Inputs, profile: CrossProfile) -> Steps:
    """What is said of the products by these inputs, part by part, each on top of those before: name and logits float [n, C].

    Args:
        rows: int [n], the products asked, as the logits have them.
    """
    found: Steps = [("image" if inputs == "image" else "titles", by_view[inputs, False])]
    if inputs == "image":
        return found
    for part, said in _experts(read, words, rows, False).items():
        found.append((part, _pooled(found[-1][1], said, len(found))))
    if profile.cross_platform.descriptions and (inputs, True) in by_view:
        other = _pool(by_view[inputs, True], _experts(read, words, rows, True))
        both = described(read)[rows] & read.has["text"][rows]
        logits = found[-1][1].copy()
        if both.any():
            logits[both] = averaged([logits[both], other[both]], read.layout, profile.hierarchy.decoder)
        found.append(("descriptions averaged", logits))
    return found


def _experts(read: Read, words: Worded | None, rows: np.ndarray, description: bool) -> dict[str, np.ndarray]:
    """What stands beside the fusion says of the products asked: name -> float [n, C]."""
    found = {} if words is None else {"words": words.logits[description]}
    return found if read.names is None else {**found, "names": read.names[description][rows]}


def _pooled(before: np.ndarray, said: np.ndarray, voices: int) -> np.ndarray:
    """The mean of so many voices, and one more: as model/fusions/expert.py pools them."""
    return np.asarray((before * voices + said) / (voices + 1))


def _pool(logits: np.ndarray, said: Mapping[str, np.ndarray]) -> np.ndarray:
    for voices, each in enumerate(said.values(), 1):
        logits = _pooled(logits, each, voices)
    return logits


def described(read: Read) -> np.ndarray:
    """bool [n of the sample]: products that are read by their descriptions too."""
    has_both = [bool(title) and bool(text) for title, text in zip(read.sample.titles, read.sample.descriptions, strict=True)]
    return np.array(has_both, dtype=bool) & read.sample.texts_count


def widest(read: Read, rows: np.ndarray) -> dict[Inputs, np.ndarray]:
    """All that each product has -> the places in `rows` of the products that have just that."""
    text, image = read.has["text"][rows], read.has["image"][rows]
    found: dict[Inputs, np.ndarray] = {"text+image": text & image, "text": text & ~image, "image": image & ~text}
    return {inputs: np.flatnonzero(here) for inputs, here in found.items() if here.any()}


def pseudo_labels(
    read: Read, logits: Mapping[str, np.ndarray], by_description: Mapping[str, np.ndarray], decoder: DecoderName, config: SelfTrainingConfig
) -> Pseudo:
    """Answers to the products of platforms as labels to learn from: of each category the surest.

    A category's own surest and not the surest of all: those would be of the easy categories, and teach the others away.

    Args:
        logits: platform -> float [m, C] of its `scored_rows`, by all that each product has.
        by_description: platform -> bool [m]: products whose description the models are surer of than of the title.
    """
    size, depth = read.sample.targets.shape
    targets = np.full((size, depth), -1, dtype=read.sample.targets.dtype)
    kept: dict[str, np.ndarray] = {}
    for platform, own in logits.items():
        rows = scored_rows(read, platform)
        answered = decode(own, read.layout, decoder)
        sure = answered.joint[np.arange(len(own)), answered.ends]
        chosen: list[int] = []
        for node in np.unique(answered.nodes).tolist():
            places = np.flatnonzero(answered.nodes == node)
            places = places[np.argsort(-sure[places], kind="stable")]
            chosen += places[: max(1, int(len(places) * config.share))].tolist()
        places = np.array(sorted(chosen), dtype=np.int64)
        targets[rows[places]] = read.sample.tree.path_indices[answered.nodes[places]]
        kept[platform] = np.where(by_description[platform][places], 2 * size, size) + rows[places]
    digest = hashlib.sha256(targets.tobytes() + b"".join(kept[platform].tobytes() for platform in sorted(kept))).hexdigest()
    return Pseudo(targets, kept, digest)


def confidence(logits: np.ndarray, read: Read, decoder: DecoderName) -> np.ndarray:
    """float [n]: log probability of the likeliest end."""
    return np.asarray(decode(logits, read.layout, decoder).joint[:, read.layout.ends].max(axis=1))


def by_descriptions(read: Read, by_view: Mapping[View, np.ndarray], words: Worded | None, rows: np.ndarray, decoder: DecoderName) -> np.ndarray:
    """bool [n]: products asked whose description is surer than their title."""
    if ("text", True) not in by_view:
        return np.zeros(len(rows), dtype=bool)
    title, other = (_pool(by_view["text", view], _experts(read, words, rows, view)) for view in (False, True))
    return np.asarray(described(read)[rows] & (confidence(other, read, decoder) > confidence(title, read, decoder)))


def all_they_have(read: Read, last: Mapping[Inputs, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Args: last: inputs -> logits float [n, C] of the products asked. Returns: float [n, C], of each by all it has."""
    found = np.zeros_like(next(iter(last.values())))
    for inputs, places in widest(read, rows).items():
        found[places] = last[inputs][places]
    return found


def inputs_of(read: Read) -> Sequence[Inputs]:
    """What the sample's products may be read by."""
    kinds = set(read.reads.values())
    found: list[Inputs] = []
    if "text" in kinds:
        found.append("text")
    if "image" in kinds:
        found.append("image")
    return [*found, "text+image"] if len(kinds) == 2 else found
