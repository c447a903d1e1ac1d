"""config: YAML files and overrides into small frozen configs, and errors that name file and key."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from prodcat.config import Config, load, profile_path, read_yaml, validate
from prodcat.errors import ConfigError


class Optimizer(Config):
    learning_rate: float = Field(1e-3, gt=0, description="step size")
    epochs: int = Field(4, ge=1, description="passes over the training set")


class Fit(Config):
    seed: int = Field(0, description="of everything random")
    name: str | None = Field(None, description="of the run")
    stage_one: Optimizer = Optimizer()
    stage_two: Optimizer | None = None
    steps: list[Optimizer] = Field(default_factory=list, description="one after another")


def write(folder: Path, text: str) -> Path:
    path = folder / "fit.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_file_and_overrides_in_this_order(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 5\nstage_one:\n  epochs: 9\n")
    assert load(Fit) == Fit()
    assert load(Fit, path) == Fit(seed=5, stage_one=Optimizer(epochs=9))
    config = load(Fit, path, ["stage_one.learning_rate=0.1", "stage_one.epochs=2", "stage_one.epochs=3", "name=a=b", "stage_two.epochs=7"])
    assert config == Fit(seed=5, name="a=b", stage_one=Optimizer(epochs=3, learning_rate=0.1), stage_two=Optimizer(epochs=7))


def test_values_are_yaml(tmp_path: Path) -> None:
    assert load(Fit, write(tmp_path, "name: x\n"), ["name=null"]).name is None
    assert load(Fit, None, ["steps=[{epochs: 2}, {epochs: 3}]"]).steps == [Optimizer(epochs=2), Optimizer(epochs=3)]


def test_an_empty_section_takes_further_keys(tmp_path: Path) -> None:
    assert load(Fit, write(tmp_path, "stage_two:\n"), ["stage_two.epochs=2"]).stage_two == Optimizer(epochs=2)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load(Fit, write(tmp_path, "# nothing yet\n")) == Fit()


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("sead: 1", "sead", "seed"),
        ("stage_one: {epoch: 1}", "stage_one.epoch", "epochs"),
        ("stage_two: {learningrate: 1}", "stage_two.learningrate", "learning_rate"),
        ("steps: [{epochs: 1}, {epoch: 1}]", "steps.1.epoch", "epochs"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest(tmp_path: Path, text: str, key: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Fit, write(tmp_path, text))
    assert "fit.yaml" in str(caught.value)
    assert f"unknown key {key!r}; did you mean {near!r}?" in str(caught.value)


def test_an_unknown_key_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'stage_one.zzz' \(known: epochs, learning_rate\)"):
        load(Fit, None, ["stage_one.zzz=1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: many", "key 'seed'.*integer.*found 'many'"),
        ("stage_one: {epochs: 0}", "key 'stage_one.epochs'.*greater than or equal to 1.*found 0"),
        ("stage_one: 3", "key 'stage_one'.*found 3"),
        ("- seed", "fit.yaml.*top level must be.*found a list"),
        ("seed: [1", "fit.yaml: not YAML"),
        ("seed: !!python/object:os.system {}", "fit.yaml: not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + message):
        load(Fit, write(tmp_path, text))


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'stage_one\.epochs'.*'sead'"):
        load(Fit, write(tmp_path, "sead: 1\nstage_one: {epochs: x}\n"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("seed=[1", "--set seed=.1: the value is not YAML"),
        ("seed.deep=1", "'seed' holds 1, not further keys"),
    ],
)
def test_a_bad_override_is_refused_by_its_text(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Fit, write(tmp_path, "seed: 1\n"), [override])


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        load(Fit, tmp_path / "gone.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(ConfigError, match=r"bytes\.yaml: not YAML"):
        read_yaml(tmp_path / "bytes.yaml")


def test_a_config_is_frozen_and_its_defaults_are_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Fit().seed = 1  # type: ignore[misc]

    class Wrong(Config):
        epochs: int = Field(0, ge=1, description="a default outside its bounds")

    with pytest.raises(ConfigError, match="key 'epochs'"):
        validate(Wrong, {}, "test")


@pytest.fixture
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the package of the job configurations: tests/architecture looks at the real one."""
    (tmp_path / "package" / "configs").mkdir(parents=True)
    (tmp_path / "package" / "configs" / "offline.yaml").write_text("seed: 3\n")
    monkeypatch.setattr("prodcat.config.resources.files", lambda package: tmp_path / "package")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_shipped")
def test_a_profile_goes_by_its_name_and_no_folder_hides_it(tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    assert load(Fit, "offline").seed == 3


@pytest.mark.usefixtures("_shipped")
def test_an_unknown_profile_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r"no configuration 'ofline'.*\['offline'\]"):
        profile_path("ofline")
