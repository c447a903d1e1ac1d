"""The key file, the ring that reads it again, the rate of a key, and the command that writes the file."""

import hashlib
import hmac
import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from prodcat.cli import app
from prodcat.errors import ConfigError
from prodcat.serving import key_file
from prodcat.serving.key_file import add_key, revoke_key
from prodcat.serving.keys import KeyRing, TokenBucket, read_keys

SECRET = "a key that stands where its hash belongs"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def name_of(ring: KeyRing, secret: str) -> str | None:
    key = ring.identify(secret.encode())
    return key and key.name


# ---- the file -------------------------------------------------------------------------------------------------------------------


def test_only_the_hash_of_a_key_is_at_rest(file: Path) -> None:
    secret = add_key(file, "shop-a", rate=5, burst=7)
    text = file.read_text(encoding="utf-8")
    assert secret not in text
    assert secret.removeprefix("prodcat_") not in text
    (key,) = read_keys(file).keys
    assert (key.name, key.sha256, key.requests_per_second, key.burst) == ("shop-a", digest(secret), 5, 7)


def test_keys_are_256_random_bits(file: Path) -> None:
    keys = {add_key(file, f"shop-{number}") for number in range(20)}
    assert len(keys) == 20
    # 43 characters of 6 bits.
    assert {len(key.removeprefix("prodcat_")) for key in keys} == {43}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "key 'keys': Field required"),
        ("keys:\n", "key 'keys': Input should be"),
        (f"keys: [{{name: a b, sha256: {'0' * 64}}}]", "key 'keys.0.name'"),
        (f'keys: [{{name: "a\\n", sha256: "{"0" * 64}"}}]', "key 'keys.0.name'"),
        (f"keys: [{{name: a, sha256: '{'0' * 63}'}}]", "key 'keys.0.sha256'"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', rate: 1}}]", "unknown key 'keys.0.rate'"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', requests_per_second: 0}}]", "key 'keys.0.requests_per_second'"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', requests_per_second: .nan}}]", "key 'keys.0.requests_per_second'"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', requests_per_second: 1, burst: 0}}]", "key 'keys.0.burst'"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}', burst: 2}}]", "burst without requests_per_second"),
        (f"keys: [{{name: a, sha256: '{'0' * 64}'}}, {{name: a, sha256: '{'1' * 64}'}}]", "two keys are named 'a'"),
        (f"keys: [{{name: a, sha256: '{'a' * 64}'}}, {{name: b, sha256: '{'A' * 64}'}}]", "'a' and 'b' have the same sha256"),
        ("- a\n", "found a list"),
        ("keys: [\n", "not YAML, line 2"),
        ("keys: 2020-99-99\n", "not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_its_fault(file: Path, text: str, says: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        KeyRing(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"keys: [{{name: a, sha256: {SECRET}}}]",
        f"keys: [{{name: a, key: {SECRET}}}]",
        f"keys: [{{name: {SECRET}, sha256: '{'0' * 64}'}}]",
        f"keys: [{{name: a, sha256: '{'0' * 64}', requests_per_second: {SECRET}}}]",
        f"keys: {SECRET}",
        f"keys: [{{name: a, sha256: {SECRET}]",
        SECRET,
    ],
)
def test_a_key_written_where_its_hash_belongs_is_not_shown(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_keys(file)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"{file}: cannot be read: No such file"):
        KeyRing(file)


# ---- the ring -------------------------------------------------------------------------------------------------------------------


def test_a_key_is_known_by_its_hash_alone(file: Path) -> None:
    first, second = add_key(file, "shop-a"), add_key(file, "shop-b")
    ring = KeyRing(file)
    assert (name_of(ring, first), name_of(ring, second)) == ("shop-a", "shop-b")
    for wrong in ("", first[:-1], first + "x", first.upper(), digest(first), "shop-a"):
        assert name_of(ring, wrong) is None
    assert ring.identify(b"\xff\x00" * 100_000) is None


def test_an_upper_case_hash_is_the_same_hash(file: Path) -> None:
    file.write_text(f"keys: [{{name: a, sha256: {digest('x').upper()}}}]", encoding="utf-8")
    assert name_of(KeyRing(file), "x") == "a"


def test_every_key_is_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [add_key(file, f"shop-{number}") for number in range(3)]
    ring, compared, compare = KeyRing(file), [], hmac.compare_digest

    def recorded(left: str, right: str) -> bool:
        compared.append(right)
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    # The first key found ends the search no earlier than none.
    for secret in (secrets[0], "wrong"):
        compared.clear()
        ring.identify(secret.encode())
        assert compared == [digest(each) for each in secrets]


def test_a_key_added_or_revoked_takes_effect_within_a_second(file: Path, clock: Clock) -> None:
    first = add_key(file, "shop-a")
    ring = KeyRing(file, clock=clock)
    second = add_key(file, "shop-b")
    revoke_key(file, "shop-a")
    clock.now += 0.9
    assert (name_of(ring, first), name_of(ring, second)) == ("shop-a", None)
    clock.now += 0.2
    assert (name_of(ring, first), name_of(ring, second)) == (None, "shop-b")
    revoke_key(file, "shop-b")
    clock.now += 1
    assert name_of(ring, second) is None


def test_the_file_is_looked_at_once_a_second_and_read_only_after_a_change(file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    add_key(file, "shop-a")
    ring = KeyRing(file, clock=clock)
    looks, reads = [], []
    look, read = Path.stat, Path.read_text
    monkeypatch.setattr(Path, "stat", lambda self, **options: looks.append(self) or look(self, **options))
    monkeypatch.setattr(Path, "read_text", lambda self, **options: reads.append(self) or read(self, **options))
    for _ in range(30):
        clock.now += 0.1
        ring.identify(b"x")
    assert 2 <= len(looks) <= 3
    assert reads == []


def test_a_change_of_the_same_size_and_time_is_seen(file: Path, clock: Clock) -> None:
    file.write_text(f"keys: [{{name: a, sha256: {digest('x')}}}]", encoding="utf-8")
    ring, before = KeyRing(file, clock=clock), file.stat()
    other = file.with_name("other")
    other.write_text(f"keys: [{{name: a, sha256: {digest('y')}}}]", encoding="utf-8")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    clock.now += 1
    assert (name_of(ring, "x"), name_of(ring, "y")) == (None, "a")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-70])


def _emptied(file: Path) -> None:
    file.write_bytes(b"")


def _gone(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _binary(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("harm", [_cut, _emptied, _gone, _folder, _binary])
def test_a_broken_file_keeps_the_keys_says_so_once_and_is_read_when_mended(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    secret = add_key(file, "shop-a")
    ring = KeyRing(file, clock=clock)
    harm(file)
    for _ in range(5):
        clock.now += 1
        assert name_of(ring, secret) == "shop-a"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(file) in record.message
    assert "1 keys read before stay" in record.message
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    new = add_key(file, "shop-b")
    clock.now += 1
    assert (name_of(ring, secret), name_of(ring, new)) == (None, "shop-b")


def test_what_the_file_system_refused_is_tried_again_without_a_change(file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    add_key(file, "shop-a")
    ring = KeyRing(file, clock=clock)
    new = add_key(file, "shop-b")

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refused)
        clock.now += 1
        assert name_of(ring, new) is None
    clock.now += 1
    assert name_of(ring, new) == "shop-b"


# ---- the rate -------------------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_a_burst_then_its_rate_and_fills_no_higher() -> None:
    bucket = TokenBucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(0.25) == pytest.approx(0.25)
    assert bucket.take(0.5) == 0
    assert [bucket.take(1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


@pytest.mark.parametrize("rate", [0.001, 0.3, 1 / 3, 7.0, 1e6])
def test_who_waits_as_long_as_was_said_is_let_in(rate: float) -> None:
    bucket, now = TokenBucket(rate, 1, 12345.678), 12345.678
    assert bucket.take(now) == 0
    for _ in range(50):
        wait = bucket.take(now)
        assert wait > 0
        now += wait
        assert bucket.take(now) == 0


def test_a_key_without_a_rate_never_waits_and_one_with_a_rate_alone_may_burst_for_a_second(file: Path, clock: Clock) -> None:
    free, limited, slow = add_key(file, "free"), add_key(file, "limited", rate=2.5), add_key(file, "slow", rate=0.1)
    ring = KeyRing(file, clock=clock)
    for secret, let_in in ((free, 100), (limited, 3), (slow, 1)):
        key = ring.identify(secret.encode())
        assert key is not None
        assert [ring.wait(key) == 0 for _ in range(100)].count(True) == let_in


def test_an_edit_fills_nobody_elses_bucket(file: Path, clock: Clock) -> None:
    secret = add_key(file, "shop-a", rate=0.01)
    ring = KeyRing(file, clock=clock)
    key = ring.identify(secret.encode())
    assert key is not None
    assert ring.wait(key) == 0
    add_key(file, "shop-b", rate=1)
    clock.now += 1
    again = ring.identify(secret.encode())
    assert again is not None
    assert ring.wait(again) == pytest.approx(99)


# ---- the command ----------------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["key", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_makes_a_key_that_opens_and_takes_it_back(file: Path) -> None:
    code, out, _ = run("shop-a", "--file", str(file), "--rate", "50", "--burst", "100", "--json")
    secret = json.loads(out)["key"]
    key = KeyRing(file).identify(secret.encode())
    assert (code, key and (key.name, key.requests_per_second, key.burst)) == (0, ("shop-a", 50, 100))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, out, err = run("shop-b", "--file", str(file))
    (line,) = [line for line in out.splitlines() if line.startswith("key: ")]
    assert name_of(KeyRing(file), line.removeprefix("key: ")) == "shop-b"
    assert line.removeprefix("key: ") not in err
    code, out, _ = run("shop-a", "--file", str(file), "--revoke")
    assert (code, "keys left: 1" in out) == (0, True)
    assert name_of(KeyRing(file), secret) is None
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shop-a"], "there is a key 'shop-a'"),
        (["nobody", "--revoke"], "no key 'nobody' to revoke; there are: shop-a"),
        (["shop-a", "--revoke", "--rate", "5"], "leave --rate and --burst out"),
        (["shop b"], "key 'keys.1.name'"),
        (["shop-b", "--rate", "0"], "key 'keys.1.requests_per_second'"),
        (["shop-b", "--rate", "nan"], "key 'keys.1.requests_per_second'"),
        (["shop-b", "--burst", "5"], "burst without requests_per_second"),
    ],
)
def test_the_command_refuses_in_one_line_and_leaves_the_file(file: Path, arguments: list[str], says: str) -> None:
    add_key(file, "shop-a")
    before = file.read_bytes()
    code, out, err = run(*arguments, "--file", str(file))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert says in err
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, err = run("shop-a", "--file", str(tmp_path / "none" / "keys.yaml"))
    assert (code, "the folder must be there" in err) == (1, True)


def test_two_who_change_the_file_at_once_do_not_undo_each_other(file: Path) -> None:
    add_key(file, "shop-a")
    file.with_name("keys.yaml.part").touch()
    with pytest.raises(ConfigError, match="another `prodcat key` is changing"):
        revoke_key(file, "shop-a")
    # The other's work is not swept away with the refusal.
    assert file.with_name("keys.yaml.part").exists()


def test_a_file_is_never_half_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = add_key(file, "shop-a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_file.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left on device; nothing was changed"):
        add_key(file, "shop-b")
    assert name_of(KeyRing(file), secret) == "shop-a"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_who_could_read_the_file_still_can_and_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    add_key(file, "shop-a")
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    add_key(link, "shop-b")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [key["name"] for key in yaml.safe_load(file.read_text(encoding="utf-8"))["keys"]] == ["shop-a", "shop-b"]
