"""What an ingestion did, in numbers and in lines for a person."""

from dataclasses import dataclass

# Among languages, for products that have none; no code has seven letters.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """Counts of one run.

    Args:
        products: rows that became products.
        rejected: rows that did not, by reason.
        image_problems: products whose image was refused, by reason; they stay, with their title.
        examples: the first row of each reason of `rejected` and `image_problems`, as a message with file, row and column.
        platforms: products by platform.
        languages: products by language; `unknown` for those without.
        languages_detected: products whose language the feed did not name.
        language_problems: products by what their feed calls a language and is none, the 20 most frequent.
        with_image: products with a usable image.
        labelled: products with a category path.
        groups: near-duplicate groups; a product on its own is one.
        largest_group: products in the largest.
        splits: products by split.
        moved: products of the earlier catalog in this folder that changed their split, since a newcomer joined two groups.
        gone: products of the earlier catalog that the sources no longer hold.
        skipped: files in source folders that are no feeds (images, unknown suffixes).
        seconds: wall time.
    """

    products: int
    rejected: dict[str, int]
    image_problems: dict[str, int]
    examples: dict[str, str]
    platforms: dict[str, int]
    languages: dict[str, int]
    languages_detected: int
    language_problems: dict[str, int]
    with_image: int
    labelled: int
    groups: int
    largest_group: int
    splits: dict[str, int]
    moved: int
    gone: int
    skipped: int
    seconds: float

    def lines(self) -> list[str]:
        """For printing."""
        lines = [
            f"{self.products:,} products of {len(self.platforms)} platforms in {self.seconds:.1f} s: "
            f"{self.with_image:,} with image, {self.labelled:,} labelled",
            f"{sum(self.rejected.values()):,} rows rejected{_counts(self.rejected)}",
        ]
        lines.append(f"languages{_counts(self.languages)}; {self.languages_detected:,} of them detected")
        if self.language_problems:
            named = sum(self.language_problems.values())
            lines.append(f"{named:,} products come with a language that is none{_counts(self.language_problems)}; map `language`, or write ISO 639-1")
        if self.image_problems:
            lines.append(f"{sum(self.image_problems.values()):,} images refused, their products kept{_counts(self.image_problems)}")
        lines.extend(f"  first {reason}: {text}" for reason, text in self.examples.items())
        lines.append(f"{self.groups:,} near-duplicate groups, the largest of {self.largest_group:,}; products{_counts(self.splits)}")
        if self.moved or self.gone:
            lines.append(f"since the earlier catalog: {self.gone:,} products gone, {self.moved:,} changed their split")
        if self.skipped:
            lines.append(f"{self.skipped:,} files in the folders are no feeds and were skipped")
        return lines


def _counts(counts: dict[str, int]) -> str:
    return ": " + ", ".join(f"{name} {count:,}" for name, count in counts.items()) if counts else ""
