"""What encoding costs on a GPU at true model sizes: ViT-B/16 and CLIP ViT-B/32, images a second of prodcat's towers beside the bare forward loop.

    python benchmarks/gpu.py [--device cuda] [--batch 128] [--batches 40] [--small]

Needs torch, timm, transformers and open_clip, and no Ray. Weights are random: their values do not change what a forward pass costs. Two sides in one
run, in turns, in fp32 and in bf16:

    bare     the module's own forward on batches that lie on the device, normalised as the tower does it; one wait at the end
    tower    Tower.encode, as embedding and serving call it: uint8 from host memory in, float32 vectors out

Then training: fusion on the same drawn features in fp32 and bf16, leaf accuracy of either over 3 seeds. Prints ratios, writes
benchmarks/results/gpu.json. `--small` is to try the script on a CPU; its figures mean nothing and are not written.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from prodcat.decoding import decode
from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.model.fusion import FusionConfig
from prodcat.prediction.multimodal_stage import fused_logits
from prodcat.taxonomy import Taxonomy
from prodcat.training.fusion_stage import FusionStageModule, FusionStageTask, modalities_of
from prodcat.training.in_memory import FusionData, train_in_memory
from prodcat.training.loop import LoopConfig

RESULTS = Path(__file__).parent / "results" / "gpu.json"
ROUNDS = 3
READS: dict[str, Literal["text", "image"]] = {"text": "text", "image": "image"}


def shapes(small: bool) -> dict[str, EncoderConfig]:
    """Name -> an encoder of that size from scratch."""
    if small:
        tiny = ImageScratch(size=32, patch=16, layers=1, width=32, heads=2)
        scratch = ScratchConfig(text=TextScratch(layers=1, width=32, heads=2, vocabulary=300), image=tiny, embed_dim=16)
        return {"ViT": EncoderConfig(family="vit", scratch=scratch), "CLIP": EncoderConfig(family="clip", scratch=scratch, max_tokens=16)}
    base = ImageScratch(size=224, patch=16, layers=12, width=768, heads=12)
    text = TextScratch(layers=12, width=512, heads=8, vocabulary=8000)
    clip = ScratchConfig(text=text, image=base.model_copy(update={"patch": 32}), embed_dim=512)
    return {
        "ViT-B/16": EncoderConfig(family="vit", scratch=ScratchConfig(image=base)),
        "CLIP ViT-B/32": EncoderConfig(family="clip", scratch=clip, max_tokens=77),
    }


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rate(run: Callable[[], Any], images: int, device: str) -> float:
    """Images a second of one call, which is waited for."""
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return images / (time.perf_counter() - started)


def encoding(config: EncoderConfig, device: str, batch: int, batches: int) -> dict[str, Any]:
    """Images a second of both sides in fp32 and bf16, medians over rounds; how far the vectors of the two precisions are apart."""
    vectors, figures = {}, {}
    for precision in ("fp32", "bf16"):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "encoder"
            obtain(config.model_copy(update={"precision": precision}), place, ["red shirt", "blue shoe", "a green bag"])
            tower: Any = load(place, device).towers["image"]
        pixels = np.random.default_rng(0).integers(0, 256, (batch, tower.image.size, tower.image.size, 3), dtype=np.uint8)
        there = torch.from_numpy(pixels).to(device)

        def bare(tower: Any = tower, there: torch.Tensor = there, precision: str = precision) -> None:
            halved = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16" and device != "cpu")
            with torch.inference_mode(), halved:
                for _ in range(batches):
                    tower.forward(tower.image.normalise(there))

        def ours(tower: Any = tower, pixels: np.ndarray = pixels) -> None:
            for _ in range(batches):
                tower.encode(pixels)

        vectors[precision] = tower.encode(pixels)
        bare()
        rates = [(rate(bare, batch * batches, device), rate(ours, batch * batches, device)) for _ in range(ROUNDS)]
        bare_rate, our_rate = (statistics.median(side) for side in zip(*rates, strict=True))
        figures[precision] = {"bare": round(bare_rate, 1), "tower": round(our_rate, 1), "ratio": round(our_rate / bare_rate, 3)}
    one, other = (value / np.linalg.norm(value, axis=1, keepdims=True) for value in vectors.values())
    return {**figures, "cosine of bf16 to fp32, least": round(float((one * other).sum(axis=1).min()), 5)}


def drawn(tree: Taxonomy, rows: int, seed: int, width: int) -> FusionData:
    """Products whose two vectors lie around their leaf's, so far apart that a part is confused."""
    random = np.random.default_rng(seed)
    nodes = random.choice(np.flatnonzero(tree.is_leaf), rows)
    centres = {name: np.random.default_rng(7 + i).normal(size=(len(tree), width)) for i, name in enumerate(READS)}
    vectors = {name: (centre[nodes] + 4.0 * random.normal(size=(rows, width))).astype(np.float32) for name, centre in centres.items()}
    return FusionData(vectors, np.ones((rows, len(READS)), dtype=bool), tree.path_indices[nodes])


def training(device: str, small: bool) -> dict[str, Any]:
    """Leaf accuracy and samples a second of fusion in either precision, over seeds."""
    tree = Taxonomy([(f"a{i}", f"b{i}{j}", f"c{i}{j}{k}") for i in range(4) for j in range(4) for k in range(4)])
    rows, width, epochs = (400, 16, 2) if small else (20_000, 768, 6)
    data, test = drawn(tree, rows, 0, width), drawn(tree, rows // 4, 1, width)
    task = FusionStageTask(modalities_of(data.vectors, data.present, READS), tree, FusionConfig())
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        if precision == "bf16" and device == "cpu":
            continue
        accuracies, rates = [], []
        for seed in range(ROUNDS):
            loop = LoopConfig(epochs=epochs, batch_size=256, precision=precision, seed=seed)  # type: ignore[arg-type]
            state = train_in_memory(
                task, data, test, loop, device=device, on_epoch=lambda epoch, _, rates=rates: rates.append(epoch.samples_per_second)
            )
            module = FusionStageModule(task)
            module.load_state_dict(state)
            answered = decode(fused_logits(module.fusion.eval(), test.vectors, test.present), tree).nodes
            accuracies.append(round(float((answered == test.targets[:, -1]).mean()), 4))
        found[precision] = {"leaf accuracy": accuracies, "samples a second": round(statistics.median(rates))}
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    arguments.add_argument("--batch", type=int, default=128)
    arguments.add_argument("--batches", type=int, default=40)
    arguments.add_argument("--small", action="store_true")
    a = arguments.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        arguments.exit(1, "gpu.py: torch finds no GPU here; run it on a machine that has one, or try the script with --device cpu --small\n")
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(0) if a.device == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "batch": a.batch,
        "encoding, images a second": {},
    }
    for name, config in shapes(a.small).items():
        result["encoding, images a second"][name] = figures = encoding(config, a.device, a.batch, a.batches)
        for precision in ("fp32", "bf16"):
            side = figures[precision]
            print(
                f"{name:<14} {precision}  bare {side['bare']:>10,.1f}  tower {side['tower']:>10,.1f} images/s  ratio {side['ratio']:.3f}", flush=True
            )
        print(f"{name:<14} bf16 / fp32 {figures['bf16']['tower'] / figures['fp32']['tower']:.2f}")
    result["training of fusion"] = training(a.device, a.small)
    for precision, side in result["training of fusion"].items():
        print(f"fusion         {precision}  leaf accuracy {side['leaf accuracy']}  {side['samples a second']:,} samples/s")
    if not a.small:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
