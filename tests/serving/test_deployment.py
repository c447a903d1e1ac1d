"""One small bundle on Ray Serve: HTTP answers as the Python predictor does, on every product, alone, in a batch and under concurrency."""

import base64
import io
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from prodcat.client import Client
from prodcat.contracts import Product
from prodcat.errors import BundleError, ConfigError
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer, Unreadable

with warnings.catch_warnings():
    # Ray Serve's own models use a form of pydantic's Field that pydantic warns of, and warnings are errors here.
    warnings.simplefilter("ignore")
    from ray.serve.schema import ServeDeploySchema

    from prodcat.serving.arguments import ServeArgs, find_keys, local_args
    from prodcat.serving.deployment import build_app, run_local

COLORS = ("red", "green", "blue", "black", None, None)


def _image(color: str, side: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), color).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def products(titles: tuple[str, ...]) -> list[Product]:
    """Every kind: with and without title and image, with a corrupt image, with nothing at all."""
    made = [
        Product("shop", str(row), title=title, brand="Acme", image=_image(color) if (color := COLORS[row % len(COLORS)]) else None)
        for row, title in enumerate(titles)
    ]
    made += [Product("shop", f"image-{color}", image=_image(color)) for color in ("red", "white")]
    made += [Product("shop", "description", description="soft wool")]
    made += [
        Product("shop", "corrupt", title="zzz qq", image=b"no image"),
        Product("shop", "only-corrupt", image=b"no image"),
        Product("shop", "nothing"),
    ]
    return made


@pytest.fixture(scope="module")
def expected(tiny_bundle: Bundle, products: list[Product]) -> list[Answer | Unreadable]:
    return tiny_bundle.cascade().classify(products)


def _body(product: Product) -> dict[str, Any]:
    names = ("platform", "product_id", "title", "description", "brand")
    body = {name: value for name in names if (value := getattr(product, name)) is not None}
    return body | ({"image": base64.b64encode(product.image).decode()} if product.image is not None else {})


def _agrees(got: dict[str, Any], wanted: Answer | Unreadable) -> None:
    if isinstance(wanted, Unreadable):
        assert got["error"]["reason"] == wanted.reason
        return
    assert (tuple(got["path"]), got["category_id"], got["stage"], got["bundle"]) == (wanted.path, wanted.category_id, wanted.stage, wanted.bundle)
    assert got["image_problem"] == wanted.image_problem
    confidences = [level["confidence"] for level in got["confidences"]]
    # Stage one reads titles one by one and is exact; stage two's matrix products may differ in the last digits with the size of a batch.
    assert confidences == (list(wanted.confidences) if wanted.stage == 1 else pytest.approx(wanted.confidences, abs=1e-5))
    assert [tuple(other["path"]) for other in got["alternatives"]] == [other.path for other in wanted.alternatives]
    assert (got["stopped_at_parent"], got["holds_precision"]) == (wanted.stopped_at_parent, wanted.holds_precision)
    assert wanted.candidates is not None
    assert {tuple(path) for path in got["candidates"]} == set(wanted.candidates)


def test_the_products_reach_both_stages(expected: list[Answer | Unreadable]) -> None:
    """Or the tests below would show less than they say."""
    assert {result.stage for result in expected if isinstance(result, Answer)} == {1, 2}
    assert sum(isinstance(result, Unreadable) for result in expected) == 2


def test_http_agrees_with_the_predictor_one_by_one(url: str, products: list[Product], expected: list[Answer | Unreadable]) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        for product, wanted in zip(products, expected, strict=True):
            answer = client.post("/v1/classify", json=_body(product))
            assert answer.status_code == (200 if isinstance(wanted, Answer) else 422)
            assert len(answer.headers.get_list("X-Request-ID")) == 1
            _agrees(answer.json(), wanted)


def test_http_agrees_with_the_predictor_in_batches(url: str, products: list[Product], expected: list[Answer | Unreadable]) -> None:
    results = httpx.post(f"{url}/v1/classify/batch", json={"products": [_body(product) for product in products * 5]}, timeout=60).json()["results"]
    for got, wanted in zip(results, expected * 5, strict=True):
        _agrees(got, wanted)


def test_http_agrees_with_the_predictor_under_concurrency(url: str, products: list[Product], expected: list[Answer | Unreadable]) -> None:
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda product: client.post("/v1/classify", json=_body(product)), products * 6))
    for answer, wanted in zip(answers, expected * 6, strict=True):
        _agrees(answer.json(), wanted)


def test_the_stream_and_the_client_agree_with_the_predictor(url: str, products: list[Product], expected: list[Answer | Unreadable]) -> None:
    lines = "".join(json.dumps(_body(product)) + "\n" for product in products)
    answer = httpx.post(f"{url}/v1/classify/stream", content=lines, headers={"Content-Type": "application/x-ndjson"}, timeout=60)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    for line, wanted in zip(answer.text.splitlines(), expected, strict=True):
        _agrees(json.loads(line), wanted)
    with Client(url) as client:
        for got, wanted in zip(client.classify_batch([_body(product) for product in products]), expected, strict=True):
            _agrees(got.model_dump(), wanted)


def test_readiness_and_model(url: str, tiny_bundle: Bundle) -> None:
    assert httpx.get(f"{url}/readyz", timeout=30).json() == {"status": "ready"}
    assert httpx.get(f"{url}/healthz", timeout=30).json() == {"status": "ok"}
    model = httpx.get(f"{url}/v1/model", timeout=30).json()
    assert (model["bundle"], model["levels"], model["limits"]["max_products"]) == (tiny_bundle.version, 3, 256)


def test_a_body_of_50_mb_is_refused(url: str) -> None:
    for body in (b" " * 50_000_000, (b" " * 1_000_000 for _ in range(50))):
        answer = httpx.post(f"{url}/v1/classify/batch", content=body, headers={"Content-Type": "application/json"}, timeout=60)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "body_too_large")
    assert httpx.post(f"{url}/v1/classify", json={"title": "boots"}, timeout=60).status_code == 200


def test_a_wrong_type_keeps_the_request_id(url: str) -> None:
    answer = httpx.post(f"{url}/v1/classify", json={"title": 5}, headers={"X-Request-ID": "order-66"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["request_id"]) == (422, "order-66")


def _descendants(pid: int) -> list[int]:
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [each for child in children for each in (child, *_descendants(child))]


def test_a_text_replica_holds_no_torch(url: str) -> None:
    libraries = {}
    for pid in _descendants(os.getpid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        if "ServeReplica" in command:
            libraries["MultimodalStage" if "MultimodalStage" in command else "TextStage"] = Path(f"/proc/{pid}/maps").read_text()
    assert sorted(libraries) == ["MultimodalStage", "TextStage"]
    assert "libtorch" in libraries["MultimodalStage"]
    assert "libtorch" not in libraries["TextStage"]
    assert "onnxruntime" in libraries["TextStage"]


def test_a_second_local_service_on_the_cluster_is_refused(url: str, tiny_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="already runs"), run_local(tiny_bundle.folder, port=1):
        pass


@pytest.mark.parametrize("name", ["prod", "local"])
def test_the_shipped_configurations_fit(name: str) -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "serve_configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    (application,) = ServeDeploySchema.model_validate(document).applications
    assert application.import_path == "prodcat.serving.deployment:build_app"
    args = ServeArgs.model_validate(application.args)
    assert args.bundle == "runs/demo/bundle"
    assert args.multimodal.num_gpus == (1 if name == "prod" else 0)
    assert args.text.num_cpus + args.multimodal.num_cpus <= 2
    if name == "local":
        assert args == local_args()


def test_a_missing_bundle_is_named_before_anything_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=str(tmp_path / "none")):
        build_app(ServeArgs.model_validate({"bundle": str(tmp_path / "none")}))


def test_a_relative_bundle_is_found_from_the_import_path(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As `serve run` has it: its folder first in sys.path, the working directory somewhere else."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError):
        build_app(ServeArgs(bundle=tiny_bundle.folder.name))
    monkeypatch.syspath_prepend(str(tiny_bundle.folder.parent))
    assert build_app(ServeArgs(bundle=tiny_bundle.folder.name)) is not None


def test_a_key_file_that_is_missing_or_broken_is_named_before_anything_is_deployed(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle, file = str(tiny_bundle.folder), tmp_path / "keys.yaml"
    with pytest.raises(ConfigError, match=f"{file}: no key file here; make it with `prodcat key"):
        build_app(ServeArgs(bundle=bundle, keys=str(file)))
    file.write_text("keys:\n- name: shop\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{file}: key 'keys.0.sha256': Field required"):
        build_app(ServeArgs(bundle=bundle, keys=str(file)))


def test_a_relative_key_file_reaches_the_replicas_with_its_whole_path(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("keys: []\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_keys("keys.yaml") == tmp_path / "keys.yaml"
    app = build_app(ServeArgs(bundle=str(tiny_bundle.folder), keys="keys.yaml"))
    assert app._bound_deployment.init_args[1]["keys"] == str(tmp_path / "keys.yaml")
