"""A profile: everything `prodcat fit` may be told, as one config. Knows no step."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from prodcat.augmenting import AugmentationConfig
from prodcat.catalog.chunks import IngestConfig
from prodcat.config import Config
from prodcat.decoding import HierarchyConfig
from prodcat.distributed import ClusterConfig
from prodcat.encoders.distributed import EmbedConfig
from prodcat.encoders.encoder import EncoderConfig
from prodcat.evaluation.scoring import ScoringConfig
from prodcat.model.losses import LossConfig, Objective, column_counts
from prodcat.prediction.backoff import BackoffConfig
from prodcat.prediction.calibration import CalibrationConfig
from prodcat.prediction.conformal import ConformalConfig
from prodcat.prediction.distributed import ClassifyConfig
from prodcat.prediction.gate import GateConfig
from prodcat.taxonomy import HeadLayout
from prodcat.training.encoders import EncoderTraining
from prodcat.training.fusion_stage import FusionStageConfig
from prodcat.training.scaling import ScalingConfig
from prodcat.training.text_stage import TextStageConfig


class FitConfig(Config):
    """A profile: everything `prodcat fit` may be told. Each part's own config says what its keys mean."""

    seed: int = Field(
        0,
        description="of both stages' initial weights and batches, and of the bootstrap; encoders keep theirs (encoders.NAME.seed, "
        "pretraining.NAME.loop.seed), and so does the split (ingest.splits.seed)",
    )
    cluster: ClusterConfig = ClusterConfig()
    ingest: IngestConfig = IngestConfig()
    masked_titles: bool = Field(
        False,
        description="stage two also trains on each title without the words of the category names, and the gate is chosen on such titles as well "
        "(gate.masked_tolerance). Not stage one: it would grow sure of them, and keep from stage two what the image could tell",
    )
    augmentation: AugmentationConfig | None = Field(
        None,
        description="stage two's fusion also learns from each training product as another shop might show it: other texts, other photos; null: not",
    )
    stage_one_encoder: EncoderConfig
    stage_one_pretraining: EncoderTraining | None = Field(EncoderTraining(), description="null: fine-tuned from where it starts")
    stage_one: TextStageConfig = TextStageConfig()
    encoders: dict[str, EncoderConfig] = Field(min_length=1, description="encoders of stage two, by name")
    pretraining: dict[str, EncoderTraining | None] = Field(
        {}, description="how an encoder that starts from scratch is trained, by the same names; null: not at all"
    )
    adaptation: dict[str, EncoderTraining | None] = Field(
        {}, description="how an encoder that comes with trained weights is adapted to the catalog, by the same names; absent or null: used as it is"
    )
    embed: EmbedConfig = EmbedConfig()
    stage_two: FusionStageConfig = FusionStageConfig()
    hierarchy: HierarchyConfig = HierarchyConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    gate: GateConfig = GateConfig()
    backoff: BackoffConfig = BackoffConfig()
    conformal: ConformalConfig = ConformalConfig()
    scaling: ScalingConfig = ScalingConfig()
    classify: ClassifyConfig = Field(ClassifyConfig(), description="how the finished bundle is run over the test split")
    evaluate: ScoringConfig = Field(ScoringConfig(), description="what the report on the test split scores and shows")

    @model_validator(mode="after")
    def _names_by_one_of_its_encoders(self) -> Self:
        names = self.stage_two.names
        if names is not None and (names.encoder not in self.encoders or self.encoders[names.encoder].family != "roberta"):
            texts = [name for name, encoder in self.encoders.items() if encoder.family == "roberta"]
            raise ValueError(
                f"stage_two.names.encoder: {names.encoder!r} is no text encoder of this profile, which has {', '.join(texts) or 'none'}; "
                "name one, or set stage_two.names to null"
            )
        return self

    def objective(self, loss: LossConfig, layout: HeadLayout, targets: np.ndarray) -> Objective:
        """What a stage with this loss is trained by.

        Args:
            targets: int32 [n, D] label nodes of the training products.

        Raises:
            ConfigError: a loss that does not fit the tree.
        """
        counts = column_counts(layout, layout.end_targets(targets)) if loss.balance != "none" else ()
        objective = Objective(layout.stops, self.hierarchy.decoder, loss, counts)
        # Now, and not hours later in a worker.
        objective.build(layout.tree, 0.0)
        return objective
