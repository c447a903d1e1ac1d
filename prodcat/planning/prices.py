"""Which nodes there are, and what they cost an hour: a file of prices, assumed unless somebody puts his own there. Knows no stage."""

from importlib import resources
from pathlib import Path

from pydantic import Field

from prodcat.config import Config, read_yaml, validate
from prodcat.planning.throughputs import Unit


class NodeType(Config):
    """A kind of node, as cluster.yaml has it."""

    instance: str = Field(min_length=1, description="the provider's name for it")
    unit: Unit = Field(description="what its throughput is counted in")
    units: int = Field(ge=1, description="how many of them it has: vCPUs, or GPUs")
    memory_gb: float = Field(gt=0)
    usable_share: float = Field(gt=0, le=1, description="what a full node does, of `units` times what one unit alone does")
    on_demand: float = Field(ge=0, description="money an hour")
    spot: float = Field(ge=0, description="money an hour, taken away when others pay more")
    start_seconds: float = Field(ge=0, description="from asking for it to its first task")
    most: int = Field(ge=1, description="how many cluster.yaml allows")

    def hourly(self, *, spot: bool) -> float:
        return self.spot if spot else self.on_demand


class HeadNode(Config):
    """The node that drives and never works; it is not taken away, so it has no spot price."""

    instance: str = Field(min_length=1)
    memory_gb: float = Field(gt=0)
    on_demand: float = Field(ge=0, description="money an hour")


class Nodes(Config):
    """The kinds of nodes that work."""

    cpu: NodeType
    gpu: NodeType


class Prices(Config):
    """A file of prices, as prices.yaml beside this module."""

    currency: str = Field(min_length=1)
    date: str = Field(min_length=1, description="when the prices were true")
    why: str = Field(min_length=1, description="where they come from; all of them count as assumed")
    nodes: Nodes
    head: HeadNode
    idle_seconds: float = Field(ge=0, description="an idle node is given back after this long (idle_timeout_minutes of cluster.yaml)")
    storage_gb_month: float = Field(ge=0, description="money for a gigabyte and month in an object store")

    def node(self, unit: Unit) -> NodeType:
        return self.nodes.cpu if unit == "cpu" else self.nodes.gpu


def read_prices(path: Path | None) -> Prices:
    """Prices of a YAML file; None: the packaged ones.

    Raises:
        ConfigError: names file and key.
    """
    if path is None:
        shipped = Path(str(resources.files("prodcat.planning"))) / "prices.yaml"
        return validate(Prices, read_yaml(shipped), shipped.name)
    return validate(Prices, read_yaml(path), f"--prices {path}")
