"""What `cross-platform` may be told. Knows no step."""

from pydantic import Field

from prodcat.config import Config
from prodcat.crossing.sample import SampleConfig
from prodcat.evaluation.new_shop_baselines import NewShopBaselineConfig
from prodcat.model.correction import CorrectionConfig
from prodcat.model.fusion import Kind
from prodcat.profile import FitConfig
from prodcat.training.loop import LoopConfig
from prodcat.training.priors import PriorConfig


class SelfTrainingConfig(Config):
    """What of the answers to a platform nobody has labelled is learned from."""

    share: float = Field(0.7, gt=0, le=1, description="of the products answered with a category: those whose answers are surest")


class CrossPlatformConfig(Config):
    """What is left out, what is trained, and what it may take of the cluster. Encoders, fusion and decoder are the profile's."""

    platforms: tuple[str, ...] | None = Field(
        None, min_length=1, description="left out in turn; null: all that have min_products labelled products of min_categories categories"
    )
    related: tuple[tuple[str, ...], ...] = Field((), description="shops that are left out together, such as [[hm, ew_hm], [myntra, jabong]]")
    min_products: int = Field(200, ge=1, description="a platform with fewer that can be read is not judged by that input")
    min_categories: int = Field(5, ge=2, description="nor one whose products are of fewer categories")
    encoders: tuple[str, ...] | None = Field(None, min_length=1, description="of the profile's; null: those that read one input, so no CLIP")
    descriptions: bool = Field(
        True, description="a product with a description is read by it as well, and the answers' probabilities are averaged (stage_two.descriptions)"
    )
    platform_normalisation: bool = Field(
        False, description="the vectors of every platform are standardised by themselves: what all of a shop's photos or titles share says nothing"
    )
    priors: PriorConfig | None = Field(
        None, description="re-estimate how often the platform's products are of each category, from the answers to them; null: not"
    )
    self_training: SelfTrainingConfig | None = Field(
        None, description="train every model once more, with the answers it is surest of, to the platform's products, as labels; null: not"
    )
    labelled: tuple[int, ...] = Field((20, 100, 500), description="sizes of the labelled samples of the platform that its answers are corrected by")
    labelled_draws: int = Field(3, ge=1, description="samples of each size; their mean is told")
    correction: CorrectionConfig = CorrectionConfig()
    kinds: tuple[Kind, ...] = Field(("early", "late", "attention"), min_length=1, description="fusions")
    sample: SampleConfig = SampleConfig()
    loop: LoopConfig = LoopConfig(epochs=8, batch_size=256, learning_rate=1e-3, weight_decay=0.05)
    baselines: bool = Field(True, description="train what a person would try first, too")
    baseline: NewShopBaselineConfig = NewShopBaselineConfig()
    cpus_per_model: float = Field(0.5, gt=0, description="logical CPUs of a training")
    gpus_per_model: float = Field(0.0, ge=0, description="GPUs of a training; fractions share one")
    threads: int = Field(1, ge=1, description="torch threads of a training")


class CrossProfile(FitConfig):
    """A profile of `fit`, and how it is tried on platforms as if they were new."""

    cross_platform: CrossPlatformConfig = CrossPlatformConfig()
