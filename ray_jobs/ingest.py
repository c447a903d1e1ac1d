"""ray job submit --working-dir . -- python -m ray_jobs.ingest FEED... --out CATALOG"""

from prodcat.commands.ingest import run_ingest
from ray_jobs.arguments import finish, given, parser


def main() -> None:
    a = parser("ingest", labels=True).parse_args()
    finish(a, lambda work: run_ingest(a.sources, work.out(a.out), **given(a, work)))


if __name__ == "__main__":
    main()
