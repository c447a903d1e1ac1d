"""Who may import whom, read from the sources without importing them; imports inside functions count too."""

import ast
import sys
from pathlib import Path

BASE = frozenset(
    {
        "errors",
        "taxonomy",
        "contracts",
        "images",
        "config",
        "decoding",
        "masking",
        "glossary",
        "synonyms",
        "location",
        "ledger",
        "poison",
        "remote",
        "workspace",
    }
)

# part of prodcat -> other parts, or single modules of them, that it may import besides the base and itself
ALLOWED: dict[str, frozenset[str]] = {
    "catalog": frozenset(),
    "crosswalk": frozenset(),
    "encoders": frozenset(),
    "model": frozenset(),
    "evaluation": frozenset(),
    "recategorization": frozenset(),
    "monitoring": frozenset(),
    "planning": frozenset(),
    "prediction": frozenset({"encoders", "model"}),
    # Training writes what prediction reads: names of files and settings are defined where they are read.
    "training": frozenset(
        {
            "encoders",
            "model",
            "prediction.bundle",
            "prediction.calibration",
            "prediction.text_stage",
            "prediction.multimodal_stage",
            "prediction.preparing",
        }
    ),
    "serving": frozenset({"prediction"}),
}
# Packages that put the parts together, as the modules at the top do: they may import every part, but no ray.
TOGETHER = frozenset({"cli", "commands", "crossing", "reviewing"})
RAY_FILES = frozenset({"training/search.py", "serving/deployment.py"})


def imports(path: Path, package: str) -> set[str]:
    """Dotted names that a file imports; for `from a import b` both a and a.b, for b may be a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def imports_ray(path: Path) -> bool:
    return any(name == "ray" or name.startswith("ray.") for name in imports(path, ""))


def breaches(part: str, names: set[str]) -> set[str]:
    """The imports of prodcat's own modules that a file of `part` may not have."""
    own = {name.removeprefix("prodcat.") for name in names if name.startswith("prodcat.")}
    allowed = BASE | ALLOWED.get(part, frozenset()) | {part}
    # "prediction.bundle" allows itself, what lies under it, and the bare package it is taken from.
    packages = {entry.split(".")[0] for entry in allowed if "." in entry}
    own -= packages | {"__version__"}
    return {name for name in own if not any(name == entry or name.startswith(entry + ".") for entry in allowed)}


def test_a_module_imports_only_layers_below_it(module_file: Path, repository: Path) -> None:
    place = module_file.relative_to(repository / "prodcat")
    part = place.parts[0].removesuffix(".py")
    names = imports(module_file, ".".join(("prodcat", *place.parent.parts)))
    if place.name == "distributed.py" or place.as_posix() in RAY_FILES:
        names = {name for name in names if not name.startswith("prodcat.distributed")}
    # What lies at the top and is not base puts the parts together (cli and its like): it may import every part, but no ray.
    found = breaches(part, names) if part in ALLOWED.keys() | BASE else set()
    assert not found, f"{place} may not import {sorted(found)}: see ALLOWED in this file"


def test_the_client_needs_no_server(repository: Path) -> None:
    """Whoever asks a served model may have installed httpx and pydantic and copied these few files."""
    todo, seen, others = ["prodcat.client"], set(), set()
    while todo:
        name = todo.pop()
        path = repository / Path(*name.split(".")).with_suffix(".py")
        if not name.startswith("prodcat"):
            others.add(name.split(".")[0])
        elif name not in seen and path.is_file():
            seen.add(name)
            todo += imports(path, name.rpartition(".")[0])
    assert seen == {"prodcat.client", "prodcat.errors", "prodcat.serving.schema", "prodcat.prediction.degradation"}
    assert others - set(sys.stdlib_module_names) == {"httpx", "pydantic"}


def test_every_part_has_its_layer(module_file: Path, repository: Path) -> None:
    place = module_file.relative_to(repository / "prodcat")
    assert len(place.parts) == 1 or place.parts[0] in TOGETHER | ALLOWED.keys(), f"say in ALLOWED what {place.parts[0]} may import"


def test_ray_is_imported_only_where_the_name_says_so(module_file: Path, repository: Path) -> None:
    place = module_file.relative_to(repository / "prodcat")
    if imports_ray(module_file):
        assert place.name == "distributed.py" or place.as_posix() in RAY_FILES, f"{place} imports ray: move that into the part's distributed.py"


def test_tests_import_ray_only_in_their_folders(repository: Path) -> None:
    allowed = ("ray", "failure", "stores", "serving", "e2e", "gpu", "conftest.py")
    found = [
        path for path in (repository / "tests").rglob("*.py") if imports_ray(path) and path.relative_to(repository / "tests").parts[0] not in allowed
    ]
    assert found == []


def test_nothing_imports_the_entry_points(module_file: Path, repository: Path) -> None:
    if module_file.parent.name != "cli":
        assert not {name for name in imports(module_file, "prodcat") if name.startswith(("prodcat.cli", "ray_jobs"))}


def test_the_reader_of_imports_sees_every_form(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    lines = ["import ray.data as d", "from prodcat.model import fusion", "from . import inputs", "from ..model.losses import loss"]
    source.write_text("\n".join([*lines, "def f():", "    from ray import serve", ""]))
    found = imports(source, "prodcat.encoders")
    assert {"ray.data", "prodcat.model.fusion", "prodcat.encoders.inputs", "prodcat.model.losses", "ray.serve"} <= found
    assert imports_ray(source)
    assert breaches("encoders", found) == {"model", "model.fusion", "model.losses", "model.losses.loss"}
    assert breaches("training", {"prodcat.prediction.bundle", "prodcat.prediction.cascade"}) == {"prediction.cascade"}
