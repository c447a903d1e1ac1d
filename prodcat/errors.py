"""Every error that prodcat raises on purpose. Each message names the thing (file, row, key, category), what was expected, and the remedy.

ProdcatError
 +-- ConfigError      a YAML file or a --set names an unknown key, or a value that does not fit
 +-- ContractError    a table does not have the columns its stage promises
 +-- TaxonomyError    a category tree that cannot be: empty names, two ids for one path, an unknown path
 +-- ImageError       bytes that are no usable image; `reason` is a short code, the same in tables and HTTP answers
 |    +-- RemoteImageError  an image that may not be fetched from its URL, or did not come
 +-- FeedError        a feed, file or catalog folder that cannot be read at all (a bad row is no error: it is rejected into a table)
 |    +-- TooManyRejected  more of its rows were rejected than the configuration allows
 |    +-- StoreError       an object store that is not reached, denies, or does not hold what is named
 +-- OverlayError     a file of reviewed labels that does not fit its catalog
 +-- CrosswalkError   a file that maps shops' own categories to the tree, or what it is made from, that does not fit
 +-- ReviewError      proposals that cannot be read, a decision that does not fit its proposal, or a trail of decisions that was changed
 |    +-- Outdated    somebody else decided on the proposal meanwhile
 +-- GlossaryError    a glossary that cannot be read, or rows of it that contradict each other
 +-- EncoderError     weights that cannot be had, loaded or trusted
 +-- TrainingError    a training set that cannot be trained on
 +-- BundleError      a bundle that is incomplete, changed, or made with other encoders
 +-- PredictionError  a served model that a client asks did not answer: not reached, overloaded for long, or failed; asking later may help
      +-- RequestRefused  it refuses the request, which is to be changed before it is sent again
"""


class ProdcatError(Exception):
    """The root: `except ProdcatError` catches everything a user can act on, and nothing else."""


class ConfigError(ProdcatError):
    """A configuration file or override that does not fit."""


class ContractError(ProdcatError):
    """A table that does not match its schema in contracts.py."""


class TaxonomyError(ProdcatError):
    """A category tree, or a path into it, that cannot be."""


class ImageError(ProdcatError):
    """Bytes that are no usable image.

    Args:
        reason: one of images.REASONS; stable, meant for tables and metrics.
        detail: what was found and what is allowed, for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RemoteImageError(ImageError):
    """An image that may not be fetched from its URL, or did not come. Its `reason` is one of serving.remote_images.REASONS."""


class FeedError(ProdcatError):
    """A feed or catalog folder that cannot be read at all."""


class TooManyRejected(FeedError):
    """More rows were rejected than the configuration allows; the run stopped."""


class StoreError(FeedError):
    """What a URI names cannot be read or written: not there, not allowed, or its store does not answer."""


class OverlayError(ProdcatError):
    """A file of reviewed labels that does not fit its catalog."""


class CrosswalkError(ProdcatError):
    """A file of category mappings that does not fit, or that cannot be made from what was given."""


class ReviewError(ProdcatError):
    """Proposals, a decision on one, or the trail of decisions, that does not fit."""


class Outdated(ReviewError):
    """Somebody else decided on the proposal since the one who decides now has looked."""


class GlossaryError(ProdcatError):
    """A glossary that cannot be read, or rows of it that contradict each other."""


class EncoderError(ProdcatError):
    """Weights that cannot be had, loaded or trusted."""


class TrainingError(ProdcatError):
    """A training set that cannot be trained on."""


class BundleError(ProdcatError):
    """A bundle that is incomplete, changed, or made with other encoders."""


class PredictionError(ProdcatError):
    """A served model did not answer.

    Args:
        reason: short stable code, the server's where it gave one.
        message: what was found, what was expected, what to do.
        status: of HTTP; None if no answer came.
        request_id: under which the server's log has it; None if no answer came.
    """

    def __init__(self, reason: str, message: str, status: int | None = None, request_id: str | None = None) -> None:
        super().__init__(f"{reason}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.reason, self.message, self.status, self.request_id = reason, message, status, request_id


class RequestRefused(PredictionError):
    """The server refuses the request: sent again unchanged, it is refused again."""
