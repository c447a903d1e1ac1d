"""How many rows of a run may be rejected before it stops: a few bad rows must not end a run, and a feed that is all bad must not pass for done."""

from collections import Counter
from collections.abc import Mapping

from pydantic import Field

from prodcat.config import Config
from prodcat.errors import TooManyRejected

_REASONS = 5


class PoisonConfig(Config):
    """What share of rows may be rejected."""

    share: float = Field(0.5, ge=0, le=1, description="of the rows so far, that may be rejected; above it the run stops with a summary")
    least_rows: int = Field(1000, ge=1, description="the share is not judged before so many rows")


class Tally:
    """Rows of a run as they leave.

    Args:
        what: is being done: "ingest" or "classify", as the key of its configuration.
    """

    def __init__(self, config: PoisonConfig, what: str) -> None:
        self._config, self._what = config, what
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def add(self, rows: int, reasons: Mapping[str, int], examples: Mapping[str, str]) -> None:
        """
        Args:
            rows: that left, rejected or not.
            reasons: reason -> rows rejected for it, among these.
            examples: reason -> one of them, with its file, row and remedy.

        Raises:
            TooManyRejected: the share is above what is allowed.
        """
        self.rows += rows
        self.reasons.update(reasons)
        for reason, example in examples.items():
            self.examples.setdefault(reason, example)
        if self.rows >= self._config.least_rows and self.rejected > self._config.share * self.rows:
            told = "; ".join(f"{reason} {count:,} (such as {self.examples.get(reason, 'no example')})" for reason, count in self.most())
            allowed = f"{self._what}.poison.share={self._config.share:g}"
            raise TooManyRejected(
                f"{self._what}: stopped, for {self.rejected:,} of {self.rows:,} rows were rejected, more than {allowed} allows: {told}. "
                "Mend the feed or its mapping, or allow more"
            )

    def most(self) -> list[tuple[str, int]]:
        """The commonest reasons and their rows."""
        return self.reasons.most_common(_REASONS)
