"""Facts about the text of the sources: what is never called, how files are named, how long they are, how they begin."""

import ast
from pathlib import Path

FORBIDDEN_IMPORTS = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "torch.load": "without weights_only=True it unpickles; bundles and encoders are safetensors",
    "yaml.load": "use yaml.safe_load",
    "yaml.unsafe_load": "use yaml.safe_load",
    "yaml.full_load": "use yaml.safe_load",
    "eval": "never",
    "exec": "never",
    "os.system": "never",
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def offences(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"line {node.lineno}: imports {alias.name}" for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_IMPORTS]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FORBIDDEN_IMPORTS:
            found.append(f"line {node.lineno}: imports {node.module}")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            harmless = called == "torch.load" and "weights_only=True" in [ast.unparse(keyword) for keyword in node.keywords]
            if called in FORBIDDEN_CALLS and not harmless:
                found.append(f"line {node.lineno}: calls {called}: {FORBIDDEN_CALLS[called]}")
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle") and ast.unparse(keyword.value) != "False":
                    found.append(f"line {node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}")
        elif isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
            every = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            found += [f"line {node.lineno}: swallows every error"] if every else []
    return found


def test_nothing_that_runs_foreign_code(module_file: Path) -> None:
    assert offences(module_file.read_text(encoding="utf-8")) == []


def test_no_job_that_runs_foreign_code(job_file: Path) -> None:
    assert offences(job_file.read_text(encoding="utf-8")) == []


def test_a_file_is_named_for_its_noun_says_what_it_does_and_stays_short(module_file: Path) -> None:
    text = module_file.read_text(encoding="utf-8")
    assert module_file.stem not in FORBIDDEN_NAMES
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "the first thing in a file is what it does and what it does not know"


def test_a_job_is_thin(job_file: Path) -> None:
    assert len(job_file.read_text(encoding="utf-8").splitlines()) <= 60


def test_no_leftovers(module_file: Path) -> None:
    marks = [
        line
        for line in module_file.read_text(encoding="utf-8").splitlines()
        if any(mark in line for mark in ("TODO", "FIXME", "XXX", "NotImplementedError"))
    ]
    assert marks == []


def test_offences_are_seen() -> None:
    source = (
        "import pickle\nfrom joblib import dump\nimport torch, yaml\ntorch.load('x')\nyaml.load('x')\n"
        "f(trust_remote_code=True)\nf(trust_remote_code=flag)\ntry:\n    pass\nexcept Exception:\n    pass\n"
    )
    assert [offence.split(":")[0] for offence in sorted(offences(source), key=lambda text: int(text.split()[1][:-1]))] == [
        f"line {number}" for number in (1, 2, 4, 5, 6, 7, 10)
    ]
    assert offences("import yaml\nyaml.safe_load('x')\nf(trust_remote_code=False)\n") == []
