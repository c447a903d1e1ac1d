"""`prodcat plan` as people and programs meet it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from prodcat.cli import app

SIZE = ("--products", "10000000", "--image-share", "0.6", "--deadline", "24")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_a_table_with_marks_and_the_worst_uncertainty() -> None:
    result = invoke(*SIZE)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("10,000,000 products, 60% with a photo")
    row = next(line for line in lines if line.startswith("classify, stage one"))
    assert "10,000,000" in row
    assert "/cpu (m)" in row
    assert any(line.startswith("classify, stage two") and "(a)" in line for line in lines)
    assert any(line.startswith("most uncertain: the assumed throughput of") for line in lines)
    assert any("money is assumed throughout" in line for line in lines)


def test_json_holds_the_same_plan_with_its_sources() -> None:
    result = invoke(*SIZE, "--gate-share", "0.2", "--spot", "--recategorize", "--json")
    document = json.loads(result.stdout)
    assert {stage["stage"] for stage in document["stages"]} >= {"ingest_text", "embed_image", "recategorize", "stage_two"}
    assert all(stage["basis"] in ("measured", "assumed") and stage["source"] for stage in document["stages"])
    assert document["figures"]["gate_share"] == {"value": 0.2, "measured": False, "why": "given as --gate-share"}
    assert document["prices"]["kind"] == "spot"
    assert document["money"] == pytest.approx(document["head_money"] + sum(step["money"] for step in document["steps"]))


def test_measured_throughputs_are_laid_over(tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    path.write_text(json.dumps({"throughputs": {"stage_one": {"rows_per_second": 2000, "unit": "cpu", "by": "scale.py"}}}), encoding="utf-8")
    document = json.loads(invoke(*SIZE, "--throughputs", str(path), "--json").stdout)
    assert [(stage["rows_per_second"], stage["source"]) for stage in document["stages"] if stage["stage"] == "stage_one"] == [(2000, "scale.py")]


def test_nothing_to_do() -> None:
    assert "nothing to do" in invoke("--products", "0", "--image-share", "0", "--deadline", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--products", "10", "--image-share", "2", "--deadline", "1"), "--image-share 2.0: expected a share"),
        (("--products", "10", "--image-share", "0", "--deadline", "0.01"), "give at least --deadline"),
        ((*SIZE, "--throughputs", "nowhere.yaml"), "nowhere.yaml"),
        ((*SIZE, "--prices", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_it(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
