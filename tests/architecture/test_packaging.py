"""Facts about the files around the code: YAML, the tree in README, pins, version, CI."""

import os
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml

import prodcat

TREE_LINE = re.compile(r"^(?P<indent>[\s│├└─|`-]*)(?P<name>[\w.\-]+(?:/[\w.\-]+)*/?)(?:\s+(?P<description>\S.*))?$")


def readme_tree(text: str) -> dict[str, str]:
    """Path -> description, from the fenced block of README that draws the tree: names indented under their folder, folders end in '/'."""
    blocks = [
        block
        for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        if re.search(r"^\W*prodcat/", block, flags=re.MULTILINE)
    ]
    assert blocks, "README.md has no fenced block with the tree of prodcat/"
    tree: dict[str, str] = {}
    folders: list[tuple[int, str]] = []
    for line in blocks[0].splitlines():
        match = TREE_LINE.match(line)
        if not match:
            continue
        depth = len(match["indent"])
        while folders and folders[-1][0] >= depth:
            folders.pop()
        path = (folders[-1][1] if folders else "") + match["name"]
        if path.endswith("/"):
            folders.append((depth, path))
        tree[path] = match["description"] or ""
    return tree


def test_readme_has_one_line_for_every_module(repository: Path) -> None:
    tree = readme_tree((repository / "README.md").read_text(encoding="utf-8"))
    drawn = {path for path in tree if path.startswith("prodcat/") and path.endswith(".py")}
    there = {path.relative_to(repository).as_posix() for path in (repository / "prodcat").rglob("*.py") if path.name != "__init__.py"}
    assert drawn - there == set(), "README draws files that are not there"
    assert there - drawn == set(), "README lacks a line for these files"
    assert [path for path in sorted(drawn) if not tree[path]] == [], "these lines say nothing"


def test_the_tree_is_read_in_both_ways_of_drawing() -> None:
    plain = """# x
```
prodcat/
  errors.py       what can go wrong
  catalog/        from feeds
    feeds/csv.py  CSV
  cli.py          commands
tests/
```
"""
    drawn = """```text
prodcat/
├── errors.py       what can go wrong
├── catalog/        from feeds
│   └── feeds/csv.py  CSV
└── cli.py          commands
tests/
```
"""
    expected = {
        "prodcat/": "",
        "prodcat/errors.py": "what can go wrong",
        "prodcat/catalog/": "from feeds",
        "prodcat/catalog/feeds/csv.py": "CSV",
        "prodcat/cli.py": "commands",
        "tests/": "",
    }
    assert readme_tree(plain) == expected
    assert readme_tree(drawn) == expected


def test_yaml_is_a_mapping(yaml_file: Path) -> None:
    assert isinstance(yaml.safe_load(yaml_file.read_text(encoding="utf-8")), dict)


def test_the_version_is_the_installed_one(repository: Path) -> None:
    declared = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert prodcat.__version__ == version("prodcat") == declared


def test_every_dependency_is_pinned_and_from_no_named_place(repository: Path) -> None:
    lines = [line for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.\-]+==[\w.+!]+", line)] == []
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(entry for extra in project["optional-dependencies"].values() for entry in extra)]
    names = {re.sub(r"[-_.]+", "-", re.match(r"[\w.\-]+", entry)[0]).lower() for entry in wanted}
    assert names - pinned == set(), "pin these in constraints.txt"
    assert "prodcat" not in pinned


def test_ci_runs_make_test(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "make test"
