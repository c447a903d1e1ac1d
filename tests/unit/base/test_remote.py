"""Copies that are whole or not there, deliveries that go on, and names that stay inside. The store is a folder behind pyarrow's SubTreeFileSystem."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from prodcat.errors import FeedError, StoreError
from prodcat.location import Location
from prodcat.remote import INDEX, deliver, fetch, local_path, private_folder
from prodcat.workspace import Workspace


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder behind s3://bucket: all but the network."""
    # What a workspace keeps on purpose goes with the test.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = tmp_path / "store"
    (root / "bucket").mkdir(parents=True)
    inside = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
    real = fs.FileSystem.from_uri

    class Opened:
        from_uri = staticmethod(lambda uri: (inside, uri.removeprefix("s3://").rstrip("/")) if uri.startswith("s3://") else real(uri))

    monkeypatch.setattr("prodcat.location.fs.FileSystem", Opened)
    # Objects have no folders to be made first.
    write = Location.write_bytes

    def write_bytes(self: Location, data: bytes) -> None:
        if not self.is_local:
            (root / self.path).parent.mkdir(parents=True, exist_ok=True)
        write(self, data)

    monkeypatch.setattr(Location, "write_bytes", write_bytes)
    return root / "bucket"


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != INDEX}


def bundle(folder: Path, text: str = "weights") -> Path:
    put(folder, {"stage/model": text})
    put(folder, {"manifest.json": json.dumps({"files": {"stage/model": hashlib.sha256(text.encode()).hexdigest()}})})
    return folder


def test_what_is_on_this_machine_is_not_copied(tmp_path: Path) -> None:
    put(tmp_path / "here", {"x": "1"})
    assert fetch(str(tmp_path / "here"), tmp_path / "keep") == tmp_path / "here"
    assert fetch(f"file://{tmp_path}/here", tmp_path / "keep") == tmp_path / "here"
    assert not (tmp_path / "keep").exists()
    assert local_path("s3://bucket/x") is None


def test_a_folder_is_fetched_once(store: Path, tmp_path: Path) -> None:
    bundle(store / "b")
    said: list[str] = []
    copy = fetch("s3://bucket/b", tmp_path / "keep", said.append)
    assert (copy.name, texts(copy)) == ("b", texts(store / "b"))
    assert fetch("s3://bucket/b/", tmp_path / "keep", said.append) == copy
    assert said == ["fetching s3://bucket/b: 2 files, 0.0 MB"]
    # Another bundle at the same place has another folder; the first one's readers keep theirs.
    bundle(store / "b", "others")
    other = fetch("s3://bucket/b", tmp_path / "keep")
    assert ((other / "stage/model").read_text(), (copy / "stage/model").read_text()) == ("others", "weights")
    # What a clean-up took from a copy comes again.
    (other / "stage/model").unlink()
    assert texts(fetch("s3://bucket/b", tmp_path / "keep")) == texts(store / "b")
    assert [path.name for path in (tmp_path / "keep").iterdir() if path.is_dir() and path.name.startswith(".")] == []


def test_a_file_and_a_folder_without_manifest_are_known_by_size_and_time(store: Path, tmp_path: Path) -> None:
    put(store, {"tree.txt": "A\nB\n", "sets/one": "1"})
    tree = fetch("s3://bucket/tree.txt", tmp_path / "keep")
    assert (tree.name, tree.read_text()) == ("tree.txt", "A\nB\n")
    assert texts(fetch("s3://bucket/sets", tmp_path / "keep")) == {"one": "1"}
    put(store, {"tree.txt": "A\n", "sets/two": "2"})
    assert fetch("s3://bucket/tree.txt", tmp_path / "keep").read_text() == "A\n"
    assert texts(fetch("s3://bucket/sets", tmp_path / "keep")) == {"one": "1", "two": "2"}


def test_processes_that_fetch_at_once_get_one_copy(store: Path, tmp_path: Path) -> None:
    put(store / "b", {f"{number}": "x" * 10_000 for number in range(50)})
    said: list[str] = []
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch("s3://bucket/b", tmp_path / "keep", said.append))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert (len(set(found)), len(said)) == (1, 1)
    assert texts(found[0]) == texts(store / "b")


def test_what_is_not_whole_is_not_there(store: Path, tmp_path: Path) -> None:
    bundle(store / "b")
    put(store / "b", {"stage/model": "changed"})
    with pytest.raises(StoreError, match="s3://bucket/b: stage/model is not the file that was listed, or that its manifest names"):
        fetch("s3://bucket/b", tmp_path / "keep")
    assert [path for path in (tmp_path / "keep").iterdir() if path.is_dir()] == []
    with pytest.raises(StoreError, match="s3://bucket/none: nothing there; mend the name, or look whether its bucket exists"):
        fetch("s3://bucket/none", tmp_path / "keep")


@pytest.mark.parametrize("name", ["../escaped", "a/../../escaped", "/escaped", "a//b", "a\\..\\b", "."])
def test_a_name_that_leads_out_is_refused(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    info = fs.FileInfo("bucket/b/x", fs.FileType.File, size=1)
    monkeypatch.setattr(Location, "files", lambda self: {"x": info, name: info})
    put(store / "b", {"x": "1"})
    with pytest.raises(StoreError, match=r"holds .* which leads out of the folder or is no file's name"):
        fetch("s3://bucket/b", tmp_path / "keep")
    with Workspace(tmp_path / "work", print) as work, pytest.raises(StoreError, match="leads out"):
        work.out("s3://bucket/b")
    assert not list(tmp_path.rglob("escaped"))


def test_a_delivery_brings_what_changed_and_takes_what_went(store: Path, tmp_path: Path) -> None:
    mine = put(tmp_path / "mine", {"products/1": "a", "products/2": "b", "catalog.json": "1"})
    put(store / "out", {"foreign": "stays"})
    assert deliver(mine, "s3://bucket/out") == 3
    assert texts(store / "out") == {**texts(mine), "foreign": "stays"}
    assert deliver(mine, "s3://bucket/out") == 0
    put(mine, {"products/3": "c", "catalog.json": "2"})
    (mine / "products/1").unlink()
    said: list[str] = []
    assert deliver(mine, "s3://bucket/out", said.append) == 2
    assert said == ["delivering 2 files, 0.0 MB, to s3://bucket/out"]
    assert texts(store / "out") == {**texts(mine), "foreign": "stays"}
    assert deliver(mine, "s3://bucket/out", instead={"catalog.json": b"other"}) == 1
    assert (store / "out/catalog.json").read_text() == "other"


def test_a_manifest_comes_last_and_goes_before_what_it_names_is_overwritten(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"run.json": "r", "steps.json": "s", "bundle/manifest.json": "m", "bundle/model": "w", "catalog/catalog.json": "c", "catalog/part": "p"}
    run = put(tmp_path / "run", names)
    done: list[str] = []
    for what in ("write_bytes", "delete"):
        real = getattr(Location, what)

        def noted(self: Location, *data: Any, real: Any = real, what: str = what) -> None:
            if self.name != INDEX:
                done.append(f"{what[0]} {self.path.removeprefix('bucket/out/')}")
            real(self, *data)

        monkeypatch.setattr(Location, what, noted)
    deliver(run, "s3://bucket/out")
    assert sorted(done[:2]) == ["w bundle/model", "w catalog/part"]
    assert done[2:] == ["w bundle/manifest.json", "w catalog/catalog.json", "w steps.json", "w run.json"]
    done.clear()
    put(run, {"bundle/model": "other", "bundle/more": "x"})
    deliver(run, "s3://bucket/out")
    assert sorted(done[:3]) == ["d bundle/manifest.json", "d run.json", "d steps.json"]
    assert sorted(done[3:5]) == ["w bundle/model", "w bundle/more"]
    assert done[5:] == ["w bundle/manifest.json", "w steps.json", "w run.json"]
    assert texts(store / "out") == texts(run)


@pytest.mark.parametrize("error", [StoreError("away"), KeyboardInterrupt()])
def test_a_delivery_that_was_cut_off_goes_on(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    mine = put(tmp_path / "mine", {"1": "a", "2": "b", "3": "c", "manifest.json": "1"})
    deliver(mine, "s3://bucket/out")
    # Of the same size, so that only their sums tell.
    put(mine, {"1": "A", "2": "B", "3": "C", "manifest.json": "2"})
    real = Location.write_bytes

    def fails(self: Location, data: bytes) -> None:
        if data == b"B":
            raise error
        real(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Location, "write_bytes", fails)
        with pytest.raises(type(error)):
            deliver(mine, "s3://bucket/out")
    assert not (store / "out/manifest.json").exists()
    # Whatever the folder is by now, nothing of the half delivery is taken for done that is not.
    put(mine, {"2": "b"})
    deliver(mine, "s3://bucket/out")
    assert texts(store / "out") == texts(mine)
    assert json.loads((store / "out" / INDEX).read_text())["pending"] == []


def test_a_damaged_index_says_so(store: Path, tmp_path: Path) -> None:
    put(store / "out", {INDEX: "{}"})
    with pytest.raises(StoreError, match=r"out/\.delivered\.json: damaged .* remove it"):
        deliver(put(tmp_path / "mine", {"x": "1"}), "s3://bucket/out")


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert private_folder("kept") == private_folder("kept")
    assert private_folder("kept").stat().st_mode & 0o777 == 0o700
    private_folder("kept").chmod(0o777)
    with pytest.raises(StoreError, match="not a folder of this user's alone"):
        private_folder("kept")


# ---- a job's workspace -------------------------------------------------------------------------------------------------------------------


def counting(work: Workspace, out: str, fail: bool = False) -> dict[str, str]:
    """A job that goes on: one part a call."""
    folder = work.out(out)
    put(folder, {f"part-{len(list(folder.glob('part-*')))}": "x"})
    work.say(f"wrote to {folder}/part")
    if fail:
        raise FeedError(f"{folder}: enough")
    put(folder, {"figures.json": json.dumps({"place": str(folder / "part-0")})})
    return {"out": str(folder), "first": str(folder / "part-0"), "elsewhere": f"{folder}-not"}


def test_a_job_goes_on_from_what_the_store_holds(store: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for turn in range(3):
        with Workspace(None, said.append) as work:
            told = work.named(counting(work, "s3://bucket/out"))
        assert len(list((store / "out").glob("part-*"))) == turn + 1
    assert told["out"] == "s3://bucket/out"
    assert told["first"] == "s3://bucket/out/part-0"
    assert "s3://" not in told["elsewhere"]
    assert json.loads((store / "out/figures.json").read_text()) == {"place": "s3://bucket/out/part-0"}
    assert "wrote to s3://bucket/out/part" in said
    assert any(line.startswith("bringing s3://bucket/out: 2 files") for line in said)


def test_what_was_done_before_an_error_is_kept(store: Path) -> None:
    work = Workspace(None, print)
    with pytest.raises(FeedError) as caught, work:
        counting(work, "s3://bucket/out", fail=True)
    assert work.named(str(caught.value)) == "s3://bucket/out: enough"
    assert texts(store / "out") == {"part-0": "x"}


def test_a_job_that_was_killed_goes_on_in_its_working_folder(store: Path, tmp_path: Path) -> None:
    for error in (KeyboardInterrupt, KeyboardInterrupt, None):
        work = Workspace(tmp_path / "work", print)
        try:
            with work:
                counting(work, "s3://bucket/out")
                if error:
                    raise error
        except KeyboardInterrupt:
            assert not (store / "out").exists()
    assert len(list((store / "out").glob("part-*"))) == 3
    # Somebody else has written there since: what lies here is of the past.
    put(store / "out", {"part-9": "other"})
    with Workspace(tmp_path / "work", print) as work:
        counting(work, "s3://bucket/out")
    assert {name for name in texts(store / "out") if name.startswith("part")} == {f"part-{number}" for number in (0, 1, 2, 4, 9)}


def test_what_the_store_does_not_take_is_kept_here(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: Location, data: bytes) -> None:
        raise StoreError("s3://bucket/out: cannot be written")

    monkeypatch.setattr(Location, "write_bytes", refuses)
    with pytest.raises(StoreError, match=r"cannot be written; what was made is kept in (.*)") as caught, Workspace(None, print) as work:
        counting(work, "s3://bucket/out")
    kept = Path(str(caught.value).rpartition(" in ")[2])
    assert list(kept.rglob("part-0"))
    said: list[str] = []
    with pytest.raises(FeedError, match="enough"), Workspace(None, said.append) as work:
        counting(work, "s3://bucket/out", fail=True)
    assert said[-1].startswith("not delivered: s3://bucket/out: cannot be written; what was made is kept in ")


def test_a_run_names_its_catalog_by_uri(store: Path, tmp_path: Path) -> None:
    """And whoever goes on from it finds it, whether the run lies in the store or here."""
    put(store / "catalog", {"catalog.json": "{}", "products/1": "a"})
    for out, noted in (("s3://bucket/run", store / "run/run.json"), (str(tmp_path / "run"), tmp_path / "run/run.json")):
        with Workspace(None, print) as work:
            assert work.sources(["s3://bucket/feed.csv"]) == ["s3://bucket/feed.csv"]
            (catalog,) = work.sources(["s3://bucket/catalog"])
            put(work.out(out), {"run.json": json.dumps({"catalog": catalog, "config": {}})})
        assert json.loads(noted.read_text())["catalog"] == "s3://bucket/catalog"
        with Workspace(None, print) as work:
            found = Path(json.loads((work.out(out) / "run.json").read_text())["catalog"])
            assert texts(found) == texts(store / "catalog")
        assert json.loads(noted.read_text())["catalog"] == "s3://bucket/catalog"


def test_schemes(tmp_path: Path) -> None:
    assert isinstance(Location("gs://bucket/x").filesystem, fs.GcsFileSystem)
    assert Location("gs://bucket/x").path == "bucket/x"
    assert Location("s3://bucket/a?region=x").child("b c%").source == "s3://bucket/a/b%20c%25?region=x"
    assert Location(f"file://{tmp_path}").child("b c%").path == f"{tmp_path}/b c%"
    with pytest.raises(StoreError, match=r"ftp://x/y: not a path or URI that can be read: .*; known are s3://, gs://"):
        Location("ftp://x/y").info()
