"""A small bundle of real parts with random weights: encoders, an int8 text stage, a fusion, and a gate that sends about half of the titles on.
Answers may end at a category with a stop, back off to the parent, and carry a set of candidates: HTTP must say all of it.

Nothing is trained: these tests ask whether HTTP answers as the bundle does, not whether the answers are good.
Imports no Ray: this file is read before tests/conftest.py has set the environment that Ray reads when it is imported.
"""

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from prodcat.config import Config
from prodcat.encoders.inputs import TextReading, product_text
from prodcat.prediction.backoff import Backoff
from prodcat.prediction.bundle import ENCODERS, STAGE_ONE, STAGE_TWO, Bundle, write_bundle
from prodcat.prediction.calibration import Calibration
from prodcat.prediction.cascade import Cascade, CascadeSettings
from prodcat.prediction.conformal import Conformal
from prodcat.prediction.gate import Gate
from prodcat.prediction.text_stage import TextStage, text_stage_fingerprint
from prodcat.serving.arguments import local_args
from prodcat.serving.limits import RequestLimits
from prodcat.serving.store import ModelStore
from prodcat.taxonomy import Taxonomy

TITLES = (
    "black leather boots",
    "running shoes for men",
    "red silk dress",
    "cotton t-shirt, white",
    "blaue Jeans für Damen",
    "sac à main en cuir",
    "gold necklace",
    "sports watch with rubber strap",
    "wool scarf",
    "sunglasses",
    "canvas backpack 20 l",
    "sandals, beige",
)
TREE = Taxonomy.from_lines(
    [
        "Apparel > Topwear > Tshirts",
        "Apparel > Dresses",
        "Apparel > Bottomwear > Jeans",
        "Footwear > Shoes",
        "Footwear > Sandals",
        "Bags",
    ]
)


STOPS = tuple(sorted((TREE.index(("Apparel", "Topwear")), TREE.index(("Footwear",)))))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Torch and the exporters are imported here only: the tests' own process needs them to make the bundle, a text replica does not."""
    import torch
    from safetensors.torch import save_file

    from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, obtain
    from prodcat.model.fusion import FusionConfig, Modality
    from prodcat.model.losses import Objective
    from prodcat.prediction.multimodal_stage import MultimodalStageSettings, encoder_towers
    from prodcat.prediction.preparing import STAGE_ONE_VECTOR, ModalitySettings
    from prodcat.training.fusion_stage import FusionStageTask, write_stage_two
    from prodcat.training.text_stage import TextStageConfig, export, text_task

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("tiny")
    words, pixels = TextScratch(layers=1, width=32, heads=2, vocabulary=300), ImageScratch(size=32, patch=16, layers=1, width=32, heads=2)
    shape = ScratchConfig(text=words, image=pixels, embed_dim=16)
    configs: dict[str, Config] = {"text": EncoderConfig(family="roberta", scratch=shape), "image": EncoderConfig(family="vit", scratch=shape)}
    encoders = {name: obtain(config, place / name, TITLES).encoder for name, config in configs.items()}  # type: ignore[arg-type]

    def decided(module: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Heads far from zero, so that answers differ from title to title."""
        state = module.state_dict()
        return {name: torch.randn_like(value) if ".linear." in name else value.clone() for name, value in state.items()}

    one = text_task(place / "text", TREE, TextStageConfig(), Objective(stops=STOPS))
    save_file(decided(one.build()), place / "one.safetensors")
    with warnings.catch_warnings():
        # The exporter's own remarks; training's tests are where they matter.
        warnings.simplefilter("ignore")
        export(one, place / "one.safetensors", place / STAGE_ONE)
    confidence = _confidences(place / STAGE_ONE)

    towers = encoder_towers(encoders)
    modalities = tuple(
        Modality(name, tower.reads, tower.dim, np.zeros(tower.dim, np.float32), np.ones(tower.dim, np.float32)) for name, (_, tower) in towers.items()
    )
    width = TextStage(place / STAGE_ONE).settings.width
    modalities += (Modality(STAGE_ONE_VECTOR, "text", width, np.zeros(width, np.float32), np.ones(width, np.float32)),)
    two = FusionStageTask(modalities, TREE, FusionConfig(width=16), objective=Objective(stops=STOPS))
    save_file(decided(two.build()), place / "two.safetensors")
    settings = MultimodalStageSettings(
        modalities=tuple(
            ModalitySettings(name=m.name, encoder=towers[m.name][0] if m.name in towers else m.name, tower=m.reads, dim=m.dim) for m in modalities
        ),
        fusion=two.config,
    )

    def fill(folder: Path) -> None:
        shutil.copytree(place / STAGE_ONE, folder / STAGE_ONE)
        write_stage_two(folder / STAGE_TWO, two, place / "two.safetensors", settings)
        for name in encoders:
            shutil.copytree(place / name, folder / ENCODERS / name)

    return write_bundle(
        place / "bundle",
        tree=TREE,
        settings=_settings(float(np.median(confidence))),
        encoders={name: tower.fingerprint for name, (_, tower) in towers.items()} | {STAGE_ONE_VECTOR: text_stage_fingerprint(place / STAGE_ONE)},
        seen=[],
        training={},
        fill=fill,
    )


def _settings(threshold: float) -> CascadeSettings:
    plain = Calibration(temperatures=(1.0,) * TREE.depth)
    return CascadeSettings(
        text=TextReading(),
        stops=tuple(TREE.categories[node].id for node in STOPS),
        calibration_one=plain,
        calibration_two=plain,
        gate=Gate(threshold=threshold),
        backoff=Backoff(precision=0.9, confidence=0.9, thresholds=(0.5,) * TREE.depth, products=0, held=0),
        conformal=Conformal(coverage=0.9, threshold=0.1, products=0),
    )


def _confidences(stage_one: Path) -> list[float]:
    cascade = Cascade(TREE, _settings(0.0), TextStage(stage_one), None, "")
    logits, _ = cascade.stage_one.read([product_text(title, None, None, ("title",)) or "" for title in TITLES])
    return cascade.settings.calibration_one.read(logits, cascade.layout, cascade.settings.decoder).whole.tolist()


def variant(of: Bundle, folder: Path, change: Callable[[Path], None] = lambda _: None, threshold: float | None = None) -> Bundle:
    """The same models under another version: other settings, or files changed before the sums are taken."""

    def fill(place: Path) -> None:
        for name in (STAGE_ONE, STAGE_TWO, ENCODERS):
            shutil.copytree(of.folder / name, place / name)
        change(place)

    gate = of.settings.gate if threshold is None else of.settings.gate.model_copy(update={"threshold": threshold})
    settings = of.settings.model_copy(update={"gate": gate})
    return write_bundle(folder, tree=of.tree, settings=settings, encoders=of.manifest.encoders, seen=[folder.name], training={}, fill=fill)


@pytest.fixture(scope="session")
def store(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    made = ModelStore(tmp_path_factory.mktemp("models"))
    made.promote(tiny_bundle)
    return made


@pytest.fixture(scope="session")
def url(ray_cluster: None, store: ModelStore, free_port: int) -> Iterator[str]:
    """The application, deployed once for all tests here; Serve and its HAProxy are shut down before the cluster is."""
    from prodcat.serving.deployment import run_local

    # Long enough for a busy machine, short enough to see what happens when it has passed.
    args = local_args().model_copy(update={"limits": RequestLimits(stage_two_seconds=4)})
    with run_local(store.file.parent, port=free_port, args=args) as base:
        yield base


@pytest.fixture(scope="session")
def titles() -> tuple[str, ...]:
    return TITLES
