"""The two stages as queues: how fast a replica is, how crowded it gets, when Ray Serve adds one and takes one away. Knows no traffic."""

from typing import Self

from pydantic import Field, model_validator

from prodcat.config import Config


class Station(Config):
    """One stage.

    A replica that does `rate` products a second holds, at a load of rho (0 to 1), on average
    rho * rate * base_seconds + crowding * rho^2 / (1 - rho). The second term has the form of Kingman's formula; `crowding` is measured where a stage
    was measured under load, and holds all that makes real servers worse than ideal ones.
    """

    rate: float = Field(gt=0, description="products a second that a replica does when it never waits")
    base_seconds: float = Field(ge=0, description="from request to answer when nobody else asks")
    crowding: float = Field(0.5, ge=0, description="see above; 0.5: a server with even service times and Poisson arrivals")
    overload_loss: float = Field(0.0, ge=0, lt=1, description="share of its rate that a replica loses when twice as much is asked, to refusing")
    max_ongoing: int = Field(ge=1, description="requests at once in a replica")
    max_queued: int = Field(
        ge=0, description="requests that may wait besides: in each replica of stage one; before stage two in each replica of stage one"
    )
    queued_count: bool = Field(
        description="whether the autoscaler sees those that wait: it does before stage two. What HAProxy sends straight to a replica of stage one "
        "is counted only while it is worked on (Ray 2.60, RUNNING_REQUESTS_KEY), so the autoscaler sees max_ongoing a replica at most",
    )
    target_ongoing: float = Field(gt=0, description="requests a replica that the autoscaler aims at")
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(ge=1)
    upscale_delay_s: float = Field(3.0, ge=0)
    downscale_delay_s: float = Field(300.0, ge=0)
    downscale_to_zero_delay_s: float = Field(900.0, ge=0)
    downscaling_factor: float = Field(1.0, gt=0, le=1, description="how much of the way down is gone at once (Ray Serve's default: all of it)")
    look_back_s: int = Field(30, ge=1, le=60, description="the autoscaler sees the mean over so long (Ray Serve's default: 30)")
    push_s: int = Field(10, ge=1, description="and is told so often (Ray Serve's default: 10)")
    start_s: int = Field(ge=0, description="a replica's start on a node that is there")
    per_node: int = Field(ge=1, description="replicas that a node holds")
    node_start_s: int = Field(ge=0)
    node_idle_s: float = Field(600.0, ge=0, description="an idle node is given back after this long")
    min_nodes: int = Field(0, ge=0, description="nodes that are never given back")
    node_price: float = Field(ge=0, description="money an hour")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas: {self.min_replicas} are more than max_replicas, {self.max_replicas}")
        return self


class Cascade(Config):
    """Both stages, and how long stage two may take before stage one's own answer is sent."""

    text: Station
    multimodal: Station
    stage_two_seconds: float = Field(10.0, gt=0)
