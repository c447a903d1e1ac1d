"""ray job submit --working-dir . -- python -m ray_jobs.classify FEED_OR_CATALOG... --bundle BUNDLE --out ANSWERS"""

from pathlib import Path

from prodcat.commands import run_classify
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("classify")
    arguments.add_argument("--bundle", required=True, help="bundle folder")
    a = arguments.parse_args()
    finish(lambda: run_classify(Path(a.bundle), a.sources, Path(a.out), config=a.config, sets=a.sets, mapping=a.mapping, say=say))


if __name__ == "__main__":
    main()
