"""Location and Ledger on S3, and what a user reads when a store refuses."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from prodcat.errors import FeedError, StoreError
from prodcat.ledger import COMMITS, Ledger, identities
from prodcat.location import Location

SCHEMA = pa.schema([pa.field("key", pa.string())])


def test_a_file_is_written_listed_read_and_removed(bucket: str) -> None:
    place = Location(bucket).child("feeds")
    place.child("a b#1.txt").write_bytes(b"one")
    place.child("deep/er/two.txt").write_bytes(b"two")
    assert [child.name for child in place.children()] == ["a b#1.txt", "deep"]
    assert {name: info.size for name, info in place.files().items()} == {"a b#1.txt": 3, "deep/er/two.txt": 3}
    assert place.child("a b#1.txt").read_bytes() == b"one"
    place.child("a b#1.txt").write_bytes(b"another")
    assert place.child("a b#1.txt").read_bytes() == b"another"
    place.child("a b#1.txt").delete()
    place.child("a b#1.txt").delete()
    assert list(place.files()) == ["deep/er/two.txt"]
    with pytest.raises(FileNotFoundError):
        place.child("a b#1.txt").read_bytes()


def test_nobody_reads_half_of_what_is_being_written(bucket: str) -> None:
    place = Location(bucket).child("large.bin")
    place.write_bytes(b"a" * 100)
    with place.filesystem.open_output_stream(place.path) as stream:
        stream.write(b"b" * 12_000_000)
        assert place.read_bytes() == b"a" * 100
    assert place.info().size == 12_000_000


def test_a_ledger(bucket: str) -> None:
    ledger = Ledger(Location(f"{bucket}/out"), ["good", "bad"])
    ledger.begin({"bundle": "1"})
    assert len(ledger.settle()) == 0
    first, second = identities(["1", "2", "3"], "ddd"), identities(["3", "4"], "dd")
    tables = {"good": pa.table({"key": ["1", "2"]}, schema=SCHEMA), "bad": pa.table({"key": ["3"]}, schema=SCHEMA)}
    ledger.write(first, np.array([0, 0, 1], dtype=np.int8), tables)
    written = ledger.write(second, np.array([0, -1], dtype=np.int8), {"good": pa.table({"key": ["3"]}, schema=SCHEMA)})
    # A file that no commit names, and a commit whose file is gone.
    Location(f"{bucket}/out/good/part-stray.parquet").write_bytes(b"stray")
    Location(f"{bucket}/out/good/{written.name}.parquet").delete()
    assert ledger.settle().tolist() == sorted(first.tolist())
    assert ledger.close({})["rows"] == {"good": 2, "bad": 1, "nowhere": 0}
    assert ledger.read("good", SCHEMA)["key"].to_pylist() == ["1", "2"]
    # One product went: its shard is written anew without it.
    again = Ledger(Location(f"{bucket}/out"), ["good", "bad"])
    again.begin({"bundle": "1"})
    with pytest.raises(FeedError, match=r"no readable manifest\.json"):
        again.read("good", SCHEMA)
    assert len(again.settle(np.sort(first[1:]))) == 2
    again.close({})
    assert again.read("good", SCHEMA)["key"].to_pylist() == ["2"]
    assert len(Location(f"{bucket}/out/{COMMITS}").children()) == 1
    with pytest.raises(FeedError, match="'1' and now '2'"):
        again.begin({"bundle": "2"})


class _Denies(BaseHTTPRequestHandler):
    def _deny(self) -> None:
        body = b"" if self.command == "HEAD" else b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _deny

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def denying() -> Iterator[str]:
    """What a URI's options say to reach a store that lets nobody in."""
    server = HTTPServer(("127.0.0.1", 0), _Denies)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"?scheme=http&endpoint_override=127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_store_that_denies(denying: str) -> None:
    place = Location(f"s3://bucket/folder{denying}")
    told = "s3://bucket/folder.*access is denied; credentials come from the environment"
    with pytest.raises(StoreError, match=told):
        place.info()
    with pytest.raises(StoreError, match=told):
        place.files()
    with pytest.raises(StoreError, match=told):
        place.child("x").read_bytes()
    with pytest.raises(StoreError, match=told):
        place.child("x").write_bytes(b"")
    with pytest.raises(StoreError, match=told):
        place.child("x").read_table()


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    place = Location(f"{bucket}-another/x")
    assert place.files() == {}
    assert place.info().type == fs.FileType.NotFound
    with pytest.raises(StoreError, match="-another/x: cannot be written, there is no such bucket; make it, or mend the name"):
        place.write_bytes(b"x")


def test_a_store_that_does_not_answer() -> None:
    # Port 9 is nobody's.
    for uri in (
        "s3://bucket/x?scheme=http&endpoint_override=127.0.0.1:9",
        "gs://anonymous@bucket/x?scheme=http&endpoint_override=127.0.0.1:9&retry_limit_seconds=1",
    ):
        started = time.perf_counter()
        with pytest.raises(StoreError, match=r"the store does not answer; .* another endpoint from AWS_ENDPOINT_URL"):
            Location(uri).info()
        assert time.perf_counter() - started < 20


def test_a_damaged_file_is_not_taken_for_a_refusal(bucket: str) -> None:
    place = Location(f"{bucket}/x.parquet")
    place.write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises((OSError, pa.ArrowException)) as caught:
        place.read_table()
    assert not isinstance(caught.value, StoreError)
    place.child("../y.parquet")
    pq.write_table(pa.table({"a": [1], "b": [2]}), f"{bucket.removeprefix('s3://')}/y.parquet", filesystem=place.filesystem)
    assert Location(f"{bucket}/y.parquet").read_table(["b"]).to_pydict() == {"b": [2]}
