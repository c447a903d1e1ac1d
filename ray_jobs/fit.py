"""ray job submit --working-dir . -- python -m ray_jobs.fit FEED_OR_CATALOG... --config offline --out RUN"""

from pathlib import Path

from prodcat.commands import run_fit
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("fit")
    arguments.add_argument("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")
    a = arguments.parse_args()
    finish(lambda: run_fit(a.sources, Path(a.out), config=a.config, sets=a.sets, mapping=a.mapping, taxonomy=a.taxonomy, say=say))


if __name__ == "__main__":
    main()
