"""ray job submit --working-dir . -- python -m ray_jobs.embed CATALOG --encoder BUNDLE --out FEATURES"""

from pathlib import Path

from prodcat.commands import run_embed
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("embed", sources=False)
    arguments.add_argument("catalog", help="catalog folder")
    arguments.add_argument(
        "--encoder", dest="encoders", action="append", required=True, help="NAME=ENCODER_FOLDER, or a bundle folder for all of its"
    )
    a = arguments.parse_args()
    finish(lambda: run_embed(Path(a.catalog), a.encoders, Path(a.out), config=a.config, sets=a.sets, say=say))


if __name__ == "__main__":
    main()
