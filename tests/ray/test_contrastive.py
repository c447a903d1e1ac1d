"""CLIP's negatives come from all workers: two workers that average their gradients learn what one worker learns from one big batch."""

from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from prodcat.encoders.encoder import EncoderConfig, load, obtain
from prodcat.taxonomy import Taxonomy
from prodcat.training.encoders import EncoderTask, EncoderTraining

TREE = Taxonomy([("a", "b"), ("a", "c")])
SCRATCH = {
    "text": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300},
    "image": {"size": 16, "patch": 8, "layers": 1, "width": 16, "heads": 2},
    "embed_dim": 16,
}
PAIRS = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "untrained"
    torch.manual_seed(0)
    obtain(EncoderConfig(family="clip", source="scratch", max_tokens=8, scratch=SCRATCH), folder, ["a red shirt", "a blue shoe", "a green bag"])
    return folder


def gradient(folder: Path, worker: int, workers: int, meeting: Path | None) -> dict[str, np.ndarray]:
    """What DDP makes of this worker's share of the pairs: the mean of the workers' gradients."""
    encoder = load(folder)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (PAIRS, 16, 16, 3), dtype=torch.uint8, generator=generator)
    words = torch.from_numpy(encoder.towers["text"].prepare([f"a {i} red shirt" for i in range(PAIRS)]))
    if meeting is not None:
        torch.distributed.init_process_group("gloo", init_method=meeting.as_uri(), rank=worker, world_size=workers)
    try:
        # As in validation: no random crops, which would differ between the two sides.
        module = EncoderTask(folder, TREE, EncoderTraining(), "clip").build().eval()
        wrapped = module if meeting is None else torch.nn.parallel.DistributedDataParallel(module)
        share = slice(worker * PAIRS // workers, (worker + 1) * PAIRS // workers)
        wrapped({"image": images[share], "input_ids": words[share]}).backward()
        return {name: value.grad.numpy() for name, value in module.named_parameters() if value.grad is not None}
    finally:
        if meeting is not None:
            torch.distributed.destroy_process_group()


def test_two_workers_give_the_gradient_of_one_big_batch(ray_cluster: None, clip: Path, tmp_path: Path) -> None:
    remote = ray.remote(num_cpus=0.5)(gradient)
    together = ray.get([remote.remote(clip, worker, 2, tmp_path / "meeting") for worker in range(2)])
    whole = gradient(clip, 0, 1, None)
    # Half of the negatives would give another one.
    half = gradient(clip, 0, 2, None)
    assert together[0].keys() == whole.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(together[0][name], value, atol=1e-6, rtol=1e-3, err_msg=name)
        np.testing.assert_array_equal(together[0][name], together[1][name])
    assert max(float(np.abs(half[name] - value).max()) for name, value in whole.items()) > 1e-3
