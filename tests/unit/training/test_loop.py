"""The loop learns, keeps the best epoch, goes on from a checkpoint as if it had never stopped, and says which number broke it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from prodcat.errors import TrainingError
from prodcat.training.loop import Batch, Epoch, LoopConfig, LoopState, schedule, train

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(256, 5, generator=GENERATOR)
Y = (X @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])).unsqueeze(1)


@dataclass(frozen=True)
class Regression:
    """y = xw, with dropout, so that a resumed run must draw what an uninterrupted one draws."""

    name: str = "regression"
    explode: bool = False
    still: tuple[str, ...] = ()

    def rates(self, module: nn.Module) -> dict[str, float]:
        return dict.fromkeys(self.still, 0.0)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Dropout(0.1), nn.Linear(5, 1))

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        return ((module(batch["x"]) - batch["y"]) ** 2).mean() * (float("inf") if self.explode else 1)

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        assert not module.training
        return ((module(batch["x"]) - batch["y"]) ** 2).sum(), len(batch["x"])


def batches(epoch: int) -> Iterator[Batch]:
    order = torch.randperm(192, generator=torch.Generator().manual_seed(epoch))
    for start in range(0, 192, 32):
        rows = order[start : start + 32]
        yield {"x": X[rows], "y": Y[rows]}


def validation() -> Iterator[Batch]:
    yield {"x": X[192:], "y": Y[192:]}


def run(config: LoopConfig, **more) -> tuple[dict[str, Tensor], list[Epoch], list[dict]]:
    epochs: list[Epoch] = []
    states: list[dict] = []

    def on_epoch(epoch: Epoch, state: LoopState) -> None:
        epochs.append(epoch)
        # The state is live: a caller that keeps it past the call copies it.
        states.append(copy.deepcopy(state.as_dict()))

    task = more.pop("task", Regression())
    best = train(task, batches, more.pop("validation", validation), steps_per_epoch=6, config=config, on_epoch=on_epoch, **more)
    return best, epochs, states


CONFIG = LoopConfig(epochs=8, batch_size=32, learning_rate=0.3, weight_decay=0.0)


def test_it_learns_and_reports() -> None:
    _, epochs, _ = run(CONFIG)
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))
    assert epochs[-1].best_validation < 0.1 * epochs[0].validation
    assert "regression: epoch 8/8" in str(epochs[-1])


def test_a_parameter_learns_at_its_own_rate() -> None:
    (start,) = run(CONFIG.model_copy(update={"epochs": 1}), task=Regression(still=("1.weight", "1.bias")))[2]
    best, _, _ = run(CONFIG, task=Regression(still=("1.weight",)))
    assert torch.equal(best["1.weight"], start["module"]["1.weight"])
    assert not torch.equal(best["1.bias"], start["module"]["1.bias"])


def test_same_seed_same_weights_other_seed_others() -> None:
    first, again, other = run(CONFIG)[0], run(CONFIG)[0], run(CONFIG.model_copy(update={"seed": 1}))[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])


def test_resuming_gives_the_very_weights_of_an_uninterrupted_run(tmp_path) -> None:
    whole, _, states = run(CONFIG)
    torch.save(states[3], tmp_path / "state.pt")
    resumed, epochs, _ = run(CONFIG, resume=torch.load(tmp_path / "state.pt", weights_only=True))
    assert [epoch.epoch for epoch in epochs] == [5, 6, 7, 8]
    for name in whole:
        torch.testing.assert_close(whole[name], resumed[name], rtol=0, atol=1e-6)


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    scores = iter([3.0, 1.0, 2.0, 2.0, 2.0])

    class Scripted(Regression):
        def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
            return torch.tensor(next(scores)), 1

    best, epochs, states = run(CONFIG.model_copy(update={"patience": 2}), task=Scripted())
    assert len(epochs) == 4
    assert torch.equal(best["1.weight"], states[1]["module"]["1.weight"])


def test_without_validation_the_last_epoch_counts() -> None:
    best, _, states = run(CONFIG, validation=lambda: iter(()))
    assert torch.equal(best["1.weight"], states[-1]["module"]["1.weight"])


def test_a_loss_that_is_no_number_stops_with_the_remedy() -> None:
    with pytest.raises(TrainingError, match=r"regression: the loss became (inf|nan) in epoch 1; lower learning_rate \(0.3\)"):
        run(CONFIG, task=Regression(explode=True))


def test_schedule_warms_up_and_falls_to_zero() -> None:
    values = [schedule(step / 100, 0.1) for step in range(101)]
    assert values[0] < 0.05
    assert max(values) == pytest.approx(1, abs=1e-3)
    assert values.index(max(values)) in range(9, 12)
    assert values[-1] == pytest.approx(0, abs=1e-6)


def test_a_large_catalog_is_passed_over_less_often() -> None:
    _, epochs, _ = run(LoopConfig(epochs=20, batch_size=32, most_samples=700))
    assert len(epochs) == 4  # of 192 products
    assert {epoch.epochs for epoch in epochs} == {4}
    assert LoopConfig(epochs=3, most_samples=700).epochs_of(192) == 3
    assert LoopConfig(epochs=3, most_samples=10).epochs_of(192) == 1
