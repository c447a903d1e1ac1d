"""What a search may try, and the record it goes on from: a cut line is no trial, other inputs are another record, the best is the smallest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.trials import Record, SearchSpace, Trial, best, with_values

TRIALS = [
    Trial({"kind": "late", "dropout": 0.2}, 0.3, 5, 10.0),
    Trial({"kind": "early"}, None, 0, 12.5, "the loss became nan"),
    Trial({}, 0.1, 9, 20.0),
]


def record(folder: Path, *inputs: str) -> Record:
    return Record(folder, inputs or ("catalog", SearchSpace()))


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    for trial in TRIALS:
        record(tmp_path).add(trial)
    assert record(tmp_path).trials() == TRIALS


def test_a_line_that_a_kill_has_cut_is_no_trial_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    for trial in TRIALS[:2]:
        record(tmp_path).add(trial)
    whole = record(tmp_path).file.read_text()
    record(tmp_path).file.write_text(whole[:-20])
    assert record(tmp_path).trials() == TRIALS[:1]
    record(tmp_path).add(TRIALS[2])
    assert record(tmp_path).trials() == [TRIALS[0], TRIALS[2]]


def test_other_inputs_are_another_record(tmp_path: Path) -> None:
    record(tmp_path, "one").add(TRIALS[0])
    assert record(tmp_path, "two").trials() == []
    assert record(tmp_path, "one").trials() == TRIALS[:1]


def test_the_best_is_the_smallest_the_earlier_of_equals_and_never_a_failed_one() -> None:
    assert best(TRIALS) is TRIALS[2]
    zero = [Trial({"a": 1}, 0.0, 1, 1.0), Trial({"a": 2}, 0.0, 1, 1.0), Trial({"a": 3}, 0.5, 1, 1.0)]
    assert best(zero) is zero[0]
    assert best([TRIALS[1]]) is None


def test_a_range_of_one_value_is_fixed_and_not_searched() -> None:
    space = SearchSpace(kind=("early",), dropout=(0.2, 0.2), width=(64, 128))
    assert (space.fixed["kind"], space.fixed["dropout"]) == ("early", 0.2)
    assert "kind" not in space.searched
    assert space.searched["width"] == (64, 128)
    assert set(space.fixed) | set(space.searched) == set(SearchSpace.model_fields)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dropout": (0.5, 0.1)}, "dropout: .* is no range"),
        ({"weight_decay": (0.0, 0.1)}, "weight_decay: .* above 0"),
        ({name: (value[0],) * (1 if name in ("kind", "width") else 2) for name, value in SearchSpace()}, "everything is fixed"),
        ({"kind": ("middle",)}, "kind"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SearchSpace(**values)


def test_values_land_where_they_belong_and_are_checked() -> None:
    base = FusionStageConfig(members=3)
    changed = with_values(base, {"kind": "attention", "width": 64, "learning_rate": 0.5})
    assert (changed.fusion.kind, changed.fusion.width, changed.loop.learning_rate, changed.members) == ("attention", 64, 0.5, 3)
    assert changed.fusion.dropout == base.fusion.dropout
    assert changed.loop.epochs == base.loop.epochs
    with pytest.raises(ValidationError, match="dropout"):
        with_values(base, {"dropout": 1.5})
