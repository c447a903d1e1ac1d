"""Between what travels over HTTP and the cascade's own types: a request to a product, a result to an answer, a bundle to what is told of it."""

import base64
import binascii

from prodcat.contracts import UNNAMED, Product
from prodcat.prediction.bundle import Bundle
from prodcat.prediction.cascade import Answer, Unreadable
from prodcat.prediction.conformal import common_path
from prodcat.serving.schema import AlternativePath, ClassifyRequest, ClassifyResponse, LevelConfidence, ModelInfo, Problem, problem
from prodcat.taxonomy import format_path

# What a product is called that came without a shop or an id; neither is read by a model.
PRODUCT_ID = "request"


def to_product(request: ClassifyRequest, image: bytes | None = None) -> Product | Problem:
    """The request as a product, still without the image behind `image_url`, or why it is none. What an image's bytes hold is stage two's business.

    Args:
        image: the image file's bytes, where they came beside the request and not in it.
    """
    if request.image_url is not None and (request.image is not None or image is not None):
        return problem("image_given_twice", "image and image_url are both there; send one of them")
    if request.image is not None:
        text = request.image
        if text[:5].lower() == "data:":
            head, comma, text = text.partition(",")
            if not comma or not head.lower().endswith(";base64"):
                return problem("image_not_base64", "the image is a data: URL without ';base64,'; expected data:image/jpeg;base64,...")
        try:
            # Encoders wrap lines (RFC 2045); everything else outside the alphabet is an error, not skipped.
            image = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            return problem("image_not_base64", f"the image is not base64 ({error}); send the file's bytes in standard base64, or leave the image out")
    return Product(
        platform=request.platform or UNNAMED,
        product_id=request.product_id or PRODUCT_ID,
        title=request.title,
        description=request.description,
        brand=request.brand,
        language=request.language,
        image=image,
    )


def to_response(result: Answer | Unreadable) -> ClassifyResponse | Problem:
    """An answer as it is sent; a product with nothing to read as a Problem."""
    if isinstance(result, Unreadable):
        return problem(result.reason, result.detail)
    return ClassifyResponse(
        path=list(result.path),
        category=format_path(result.path),
        category_id=result.category_id,
        confidences=[
            LevelConfidence(level=level, category=name, confidence=confidence)
            for level, (name, confidence) in enumerate(zip(result.path, result.confidences, strict=True), 1)
        ],
        alternatives=[AlternativePath(path=list(other.path), confidence=other.confidence) for other in result.alternatives],
        stage=result.stage,
        bundle=result.bundle,
        image_problem=result.image_problem,
        stopped_at_parent=result.stopped_at_parent,
        holds_precision=result.holds_precision,
        candidates=None if result.candidates is None else [list(path) for path in result.candidates],
        candidates_under=None if result.candidates is None else list(common_path(result.candidates)),
        degraded=result.degraded,
        taxonomy_version=result.taxonomy_version,
    )


def model_info(bundle: Bundle, limits: dict[str, float]) -> ModelInfo:
    tree, settings = bundle.tree, bundle.settings
    return ModelInfo(
        bundle=bundle.version,
        taxonomy=tree.hash,
        taxonomy_version=bundle.versions.present,
        categories=len(tree),
        leaves=int(tree.is_leaf.sum()),
        levels=tree.depth,
        gate=settings.gate.threshold,
        gate_by_platform={name: own.threshold for name, own in settings.gate.platforms.items()},
        decoder=settings.decoder,
        precision=settings.backoff.precision if settings.backoff else None,
        coverage=settings.conformal.coverage if settings.conformal else None,
        text_fields=list(settings.text.fields),
        encoders=bundle.manifest.encoders,
        limits=limits,
    )
