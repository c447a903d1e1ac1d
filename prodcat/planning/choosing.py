"""Which autoscaling settings are cheapest and still answer: a grid of them over several days of traffic, all simulated side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prodcat.planning.arrivals import DAY_SECONDS, Arrivals
from prodcat.planning.simulation import Outcome, simulate
from prodcat.planning.stations import Cascade, Station


@dataclass(frozen=True, slots=True, order=True)
class Settings:
    """What both stages are told alike.

    Args:
        target_share: requests a replica that the autoscaler aims at, of max_ongoing.
        min_replicas: of the text stage; stage two keeps its own.
    """

    upscale_delay_s: float
    downscale_delay_s: float
    target_share: float
    min_replicas: int
    look_back_s: int = 30
    downscaling_factor: float = 1.0

    def applied(self, cascade: Cascade) -> Cascade:
        def station(old: Station, least: int) -> Station:
            changed = {
                "upscale_delay_s": self.upscale_delay_s,
                "downscale_delay_s": self.downscale_delay_s,
                "look_back_s": self.look_back_s,
                "downscaling_factor": self.downscaling_factor,
                "target_ongoing": max(1.0, old.max_ongoing * self.target_share),
                "min_replicas": least,
                "max_replicas": max(least, old.max_replicas),
            }
            return Station.model_validate({**old.model_dump(), **changed})

        text, multimodal = station(cascade.text, self.min_replicas), station(cascade.multimodal, cascade.multimodal.min_replicas)
        return cascade.model_copy(update={"text": text, "multimodal": multimodal})


@dataclass(frozen=True, slots=True)
class Judged:
    """Settings over all days.

    Args:
        lost_share: refused or degraded, on the worst day.
        mean_lost_share: over the days.
        money: a day, on average: nodes, and of each stage the share of a node that its replicas take, halved and added up; so that a replica that
            is given back counts for something even on a node that stays.
        node_money: a day, on average: nodes alone.
        replica_hours: of both stages a day, on average.
    """

    settings: Settings
    lost_share: float
    mean_lost_share: float
    money: float
    node_money: float
    replica_hours: float
    p99_s: float


def judge(grid: Sequence[Settings], days: Sequence[Arrivals], cascades: Mapping[str, Cascade]) -> dict[str, list[Judged]]:
    """Every settings of the grid over all days, laid over each cascade; by the cascades' names, in the grid's order."""
    outcomes = iter(simulate([(day, settings.applied(cascade)) for cascade in cascades.values() for settings in grid for day in days]))
    per_day = [DAY_SECONDS / len(day.products) for day in days]
    return {name: [_judged(settings, [next(outcomes) for _ in days], per_day, cascade) for settings in grid] for name, cascade in cascades.items()}


def _judged(settings: Settings, outcomes: Sequence[Outcome], per_day: Sequence[float], cascade: Cascade) -> Judged:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean([value * factor for value, factor in zip(values, per_day, strict=True)]))

    nodes = mean(outcome.money for outcome in outcomes)
    return Judged(
        settings=settings,
        lost_share=max(outcome.lost_share for outcome in outcomes),
        mean_lost_share=float(np.mean([outcome.lost_share for outcome in outcomes])),
        money=(nodes + mean(_occupied(outcome.replica_hours, cascade) for outcome in outcomes)) / 2,
        node_money=nodes,
        replica_hours=mean(sum(outcome.replica_hours.values()) for outcome in outcomes),
        p99_s=max(outcome.p99_s for outcome in outcomes),
    )


def choose(
    grid: Sequence[Settings], days: Sequence[Arrivals], cascades: Mapping[str, Cascade], most_lost: float = 0.001
) -> tuple[Judged | None, list[Judged]]:
    """The cheapest settings that lose at most `most_lost` on every day with every cascade, or None; and all of them, the cheapest first.

    Args:
        cascades: what a stage may turn out to be, where it was not measured well: settings must do for each of them.
    """
    found = judge(grid, days, cascades)
    judged = [_over(same) for same in zip(*found.values(), strict=True)]
    judged.sort(key=lambda each: (each.money, each.lost_share, each.settings))
    return next((each for each in judged if each.lost_share <= most_lost), None), judged


def _over(same: Sequence[Judged]) -> Judged:
    """The same settings with several cascades as one: the worst of what is lost and of times, the mean of all else."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(each, name) for each in same]))

    return Judged(
        settings=same[0].settings,
        lost_share=max(each.lost_share for each in same),
        mean_lost_share=mean("mean_lost_share"),
        money=mean("money"),
        node_money=mean("node_money"),
        replica_hours=mean("replica_hours"),
        p99_s=max(each.p99_s for each in same),
    )


def _occupied(replica_hours: dict[str, float], cascade: Cascade) -> float:
    """Money for the parts of nodes that replicas take."""
    stations = {"text": cascade.text, "multimodal": cascade.multimodal}
    return sum(replica_hours[name] * station.node_price / station.per_node for name, station in stations.items())
