"""A run's folder: a step is made once for its inputs, and another command finds catalog and profile again, also after the folder was moved."""

from pathlib import Path

import pytest

from prodcat.config import Config
from prodcat.errors import ConfigError, FeedError
from prodcat.run_folder import Steps, note_run, open_run


class Profile(Config):
    """Any config."""

    seed: int = 0


class Other(Config):
    """Of another version."""

    seeds: int = 0


def test_a_step_is_made_again_only_for_other_inputs(tmp_path: Path) -> None:
    made: list[str] = []

    def step(*inputs: str | Config) -> str:
        def make() -> None:
            (tmp_path / "result").mkdir(exist_ok=True)
            made.append(" ".join(map(str, inputs)))

        return Steps(tmp_path, lambda line: None).run("step", inputs, tmp_path / "result", make)

    assert step("a", Profile()) == step("a", Profile())
    assert step("a", Profile(seed=1)) != step("b", Profile())
    assert made == ["a seed=0", "a seed=1", "b seed=0"]
    (tmp_path / "result").rmdir()
    step("b", Profile())
    assert made[3:] == ["b seed=0"]


def test_a_run_killed_while_it_writes_goes_on_from_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> None:
        (tmp_path / "result").mkdir(exist_ok=True)

    Steps(tmp_path, lambda line: None).run("one", ["a"], tmp_path / "result", made)
    before = (tmp_path / "steps.json").read_bytes()
    write = Path.write_text

    def killed(path: Path, text: str, **how: str) -> int:
        write(path, text[: len(text) // 2], **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        Steps(tmp_path, lambda line: None).run("two", ["a"], tmp_path / "other", made)
    monkeypatch.undo()
    assert (tmp_path / "steps.json").read_bytes() == before
    said: list[str] = []
    Steps(tmp_path, said.append).run("one", ["a"], tmp_path / "result", made)
    assert said == ["one: done before"]


def test_a_run_is_found_again_where_it_was_moved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    note_run(run, str(run / "catalog"), Profile(seed=7))
    moved = run.rename(tmp_path / "elsewhere")
    assert open_run(moved, Profile) == (str(moved / "catalog"), Profile(seed=7))
    note_run(moved, str(tmp_path / "catalog"), Profile())
    assert open_run(moved, Profile)[0] == str(tmp_path / "catalog")


def test_a_folder_without_a_run_and_a_profile_that_does_not_fit_are_said(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"no run here \(run.json is missing\); give the folder that `prodcat fit` wrote to"):
        open_run(tmp_path, Profile)
    note_run(tmp_path, str(tmp_path / "catalog"), Profile())
    with pytest.raises(ConfigError, match=r"run.json: unknown key 'seed'; did you mean 'seeds'\?"):
        open_run(tmp_path, Other)
