"""What travels over HTTP: requests, answers and problems as pydantic models.

Knows no server, no model and no type of the cascade (conversion.py does): the client imports it, and loads nothing heavy with it. Text is cleaned as
ingestion cleans a cell (trimmed, empty is absent), so that HTTP and batch read the same product.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, StringConstraints, model_validator

from prodcat.prediction.degradation import DEGRADED

TITLE_LENGTH = 2_000
DESCRIPTION_LENGTH = 20_000
NAME_LENGTH = 500
URL_LENGTH = 2_000
# Of one batch, whatever a server is configured to.
MOST_PRODUCTS = 10_000
# Of one product; room for some that are unknown, which are named.
MOST_KEYS = 100


def _present(value: str | None) -> str | None:
    if value is not None and "\0" in value:
        raise ValueError("the text holds a NUL character; remove it")
    return value or None


_Title = Annotated[str, StringConstraints(strip_whitespace=True, max_length=TITLE_LENGTH)]
_Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=DESCRIPTION_LENGTH)]
_Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=NAME_LENGTH)]
_Url = Annotated[str, StringConstraints(strip_whitespace=True, max_length=URL_LENGTH)]

EXAMPLE_PRODUCT = {"title": "Men's leather running shoes, black", "brand": "Acme", "platform": "acme.example"}
EXAMPLE_ANSWER: dict[str, Any] = {
    "path": ["Footwear", "Shoes", "Sports Shoes"],
    "category": "Footwear > Shoes > Sports Shoes",
    "category_id": "3f2a91c07bde",
    "confidences": [
        {"level": 1, "category": "Footwear", "confidence": 0.999},
        {"level": 2, "category": "Shoes", "confidence": 0.995},
        {"level": 3, "category": "Sports Shoes", "confidence": 0.982},
    ],
    "alternatives": [{"path": ["Footwear", "Shoes", "Casual Shoes"], "confidence": 0.011}],
    "stage": 1,
    "bundle": "8c1f0d2e9a7b",
    "image_problem": None,
    "stopped_at_parent": False,
    "holds_precision": True,
    "candidates": None,
    "candidates_under": None,
    "degraded": None,
    "taxonomy_version": 1,
}
_EXAMPLE_PROBLEM = {"error": {"reason": "nothing_to_read", "message": "neither title nor image; send at least one", "request_id": "0b6f8d7c5a4e4f0f"}}
_EXAMPLE_MODEL: dict[str, Any] = {
    "bundle": "8c1f0d2e9a7b",
    "taxonomy": "5d0c6f7e1b2a",
    "taxonomy_version": 1,
    "categories": 96,
    "leaves": 60,
    "levels": 3,
    "gate": 0.93,
    "gate_by_platform": {"acme.example": 0.97},
    "decoder": "greedy",
    "precision": 0.995,
    "coverage": None,
    "text_fields": ["title"],
    "encoders": {"text": "1f3b5c7d9e0a"},
    "limits": {"max_body_bytes": 32_000_000, "max_products": 256},
    "canary": None,
    "refused": None,
}


def _documented(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [example]})


class ClassifyRequest(BaseModel):
    """One product. Everything is optional, but without a text and a usable image there is nothing to read."""

    model_config = _documented(EXAMPLE_PRODUCT)

    title: Annotated[_Title | None, AfterValidator(_present)] = Field(None, description="the product's title")
    description: Annotated[_Description | None, AfterValidator(_present)] = Field(
        None, description="longer text; read if the bundle was trained to, or if there is no title"
    )
    brand: Annotated[_Name | None, AfterValidator(_present)] = Field(None, description="the brand")
    platform: Annotated[_Name | None, AfterValidator(_present)] = Field(
        None, description="shop the product comes from; not read by the models, but a shop in gate_by_platform of /v1/model has a gate of its own"
    )
    product_id: Annotated[_Name | None, AfterValidator(_present)] = Field(None, description="the shop's own id; not read by the models")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2}$",
        description="ISO 639-1 code of title and description; a bundle that reads by a glossary finds more words with it",
    )
    image: str | None = Field(None, description="the image file (JPEG, PNG, WebP, GIF, BMP, TIFF) in base64, with or without a data: URL prefix")
    image_url: Annotated[_Url | None, AfterValidator(_present)] = Field(
        None, description="instead of `image`: where the image file is, on a host that the server's images_by_url.allow names; off by default"
    )
    taxonomy_version: int | None = Field(
        None,
        ge=1,
        description="the version of the category tree to be answered in, from 1 to the one /v1/model names; null: that one. What is new since is "
        "answered by the category it was cut from",
    )

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, data: Any) -> Any:
        # Every unknown key becomes an error of a kilobyte: a body of a million would take a hundred times its size.
        if isinstance(data, dict) and len(data) > MOST_KEYS:
            raise ValueError(f"{len(data)} fields; a product has {', '.join(cls.model_fields)}")
        return data


class BatchRequest(BaseModel):
    """Several products; answered in order."""

    model_config = _documented({"products": [EXAMPLE_PRODUCT, {"title": "Silk scarf"}]})

    # Both bound what a body of a million empty or wrong products costs: objects and errors weigh a hundred times what they do as JSON.
    products: Annotated[list[ClassifyRequest], FailFast()] = Field(
        max_length=MOST_PRODUCTS, description="at most as many as /v1/model says in limits.max_products"
    )


class LevelConfidence(BaseModel):
    """One level of the answered path."""

    level: int = Field(description="from 1 under the root")
    category: str = Field(description="name of the category on this level")
    confidence: float = Field(ge=0, le=1, description="calibrated probability that the path down to this level is right")


class AlternativePath(BaseModel):
    """Another leaf that the product may belong to."""

    path: list[str]
    confidence: float = Field(ge=0, le=1, description="calibrated probability of the whole path")


class ClassifyResponse(BaseModel):
    """The category of one product."""

    model_config = _documented(EXAMPLE_ANSWER)

    path: list[str] = Field(description="category names from level 1 down, as deep as the wanted precision holds, if /v1/model names one")
    category: str = Field(description='the path as text, "A > B > C"')
    category_id: str = Field(description="id of the last category of the path")
    confidences: list[LevelConfidence]
    alternatives: list[AlternativePath] = Field(
        description="the next best leaves, best first; at most three; the best leaf itself is among them if stopped_at_parent"
    )
    stage: int = Field(ge=1, le=2, description="1: the text stage was sure; 2: the multimodal stage answered")
    bundle: str = Field(description="version of the bundle that answered")
    image_problem: str | None = Field(description="why the image that was sent could not be used; null if it was, or if it was not looked at")
    stopped_at_parent: bool = Field(description="the best guess goes on below `path`, but is less sure than the wanted precision asks")
    holds_precision: bool | None = Field(
        description="false: not even the first level is as sure as wanted, and is answered all the same; null if no precision is wanted"
    )
    candidates: list[list[str]] | None = Field(
        description="paths, likeliest first, that hold the right one with the coverage that /v1/model names; null if the bundle has no sets"
    )
    candidates_under: list[str] | None = Field(
        description="the lowest category above all candidates; empty if they share none; null without candidates"
    )
    degraded: str | None = Field(
        description="why stage two did not answer although stage one was unsure (" + ", ".join(DEGRADED) + "); null, as nearly always: it was not "
        "needed, or did. Stage one's own answer with its own confidence stands here then; ask again later for a better one"
    )
    taxonomy_version: int = Field(description="the version of the category tree that the paths and ids here are of")


class ProblemDetail(BaseModel):
    """What went wrong, for a program and for a person."""

    reason: str = Field(description="short stable code")
    message: str = Field(description="what was found, what was expected, what to do")
    request_id: str | None = Field(None, description="also in the X-Request-ID header; null for one product of a batch or a stream")


class Problem(BaseModel):
    """The body of every answer that is not 200, and of a batch's products that could not be read."""

    model_config = _documented(_EXAMPLE_PROBLEM)

    error: ProblemDetail


class LineProblem(Problem):
    """A line of a stream that has no answer, in its place."""

    line: int = Field(ge=1, description="which line of the request, from 1, blank ones counted")


class BatchResponse(BaseModel):
    """One entry a product, in the order they were sent."""

    model_config = _documented({"results": [EXAMPLE_ANSWER, {"error": {**_EXAMPLE_PROBLEM["error"], "request_id": None}}]})

    results: list[ClassifyResponse | Problem]


class CanaryInfo(BaseModel):
    """What the canary did since this replica took it up. Counts of one replica: each has its own share of the requests."""

    bundle: str = Field(description="version")
    share: float = Field(description="of the products that it answers")
    products: int = Field(description="answered by it")
    failed: int = Field(description="that it failed on; the current bundle answered them")
    compared: int = Field(description="of its products that the current bundle was asked as well")
    same_path: int = Field(description="of the compared, answered alike")
    stage_two: int = Field(description="of the compared, answered by its stage two")
    stage_two_of_current: int = Field(description="of the compared, answered by the current bundle's stage two")


class ModelInfo(BaseModel):
    """Which model answers, for people and monitoring. Deliberately without paths of the server."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_MODEL]})

    bundle: str = Field(description="version: equal for equal content")
    taxonomy: str = Field(description="hash of the category tree")
    taxonomy_version: int = Field(1, description="its version; products may be answered in any from 1 to it (taxonomy_version)")
    categories: int
    leaves: int
    levels: int
    gate: float = Field(description="stage one answers when its confidence is above this; 1.0 sends everything to stage two")
    gate_by_platform: dict[str, float] = Field({}, description="the same for products of these platforms, in place of `gate`")
    decoder: str = Field(description="how a path is picked: greedy, joint or flat")
    precision: float | None = Field(description="wanted precision, which answers stop at a parent for; null: they go down to the leaf")
    coverage: float | None = Field(description="probability with which `candidates` holds the right category; null: answers have none")
    text_fields: list[str] = Field(description="fields that stage one reads")
    encoders: dict[str, str] = Field(description="feature set -> fingerprint of its encoder")
    limits: dict[str, float]
    canary: CanaryInfo | None = Field(None, description="a bundle that is being tried on a share of the products")
    refused: str | None = Field(None, description="why the bundle that was promoted last is not served by this replica; null if it is")


def problem(reason: str, message: str, request_id: str | None = None) -> Problem:
    return Problem(error=ProblemDetail(reason=reason, message=message, request_id=request_id))
