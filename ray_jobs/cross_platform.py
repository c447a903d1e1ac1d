"""ray job submit --working-dir . -- python -m ray_jobs.cross_platform CATALOG --config offline --out FOLDER"""

from prodcat.commands.comparing import run_cross_platform
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("cross_platform", sources=False)
    arguments.add_argument("catalog", help=f"catalog folder: {PLACE}")
    a = arguments.parse_args()
    finish(a, lambda work: run_cross_platform(work.path(a.catalog), work.out(a.out), **given(a, work)))


if __name__ == "__main__":
    main()
