"""ray job submit --working-dir . -- python -m ray_jobs.embed CATALOG --encoder BUNDLE --out FEATURES"""

from prodcat.commands.embed import run_embed
from prodcat.location import is_uri
from prodcat.workspace import Workspace
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("embed", sources=False)
    arguments.add_argument("catalog", help=f"catalog folder: {PLACE}")
    arguments.add_argument(
        "--encoder", dest="encoders", action="append", required=True, help="NAME=ENCODER_FOLDER, or a bundle folder for all of its"
    )
    a = arguments.parse_args()
    finish(
        a,
        lambda work: run_embed(work.path(a.catalog), [_here(entry, work) for entry in a.encoders], work.out(a.out), **given(a, work)),
    )


def _here(entry: str, work: Workspace) -> str:
    name, equals, folder = entry.partition("=")
    # A URI's options have equals signs too.
    return f"{name}={work.path(folder)}" if equals and not is_uri(entry) else str(work.path(entry))


if __name__ == "__main__":
    main()
