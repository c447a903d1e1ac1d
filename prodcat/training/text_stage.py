"""Stage one: a text encoder fine-tuned with hierarchical heads, then exported to ONNX and quantized to int8. Knows no Ray.

Dynamic int8 keeps weights in one byte and scales activations by what it sees; the exported model therefore runs one title at a time, so that an
answer depends on nothing else.
"""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from prodcat.config import Config
from prodcat.encoders.encoder import load
from prodcat.encoders.inputs import Manifest, TextInput, Tokens
from prodcat.errors import EncoderError
from prodcat.model.losses import PLAIN, HierarchicalLoss, LossConfig, Objective
from prodcat.model.text_classifier import TextClassifier, pad_mask
from prodcat.prediction.bundle import write_settings
from prodcat.prediction.text_stage import MODEL, SETTINGS, TOKENIZER, TextStageSettings
from prodcat.taxonomy import Taxonomy
from prodcat.training.loop import Batch, LoopConfig
from prodcat.training.tables import fixed_rows
from prodcat.training.title_loop import over_titles

# What is exported otherwise is exported anew, and all that has read it is made anew.
EXPORT_FORMAT = 2


class TextStageConfig(Config):
    """Fine-tuning of stage one."""

    loop: LoopConfig = LoopConfig(epochs=30, batch_size=64, learning_rate=5e-4)
    loss: LossConfig = LossConfig()
    max_tokens: int = Field(32, ge=4, description="longer titles are cut")
    dropout: float = Field(0.1, ge=0, lt=1)
    label_smoothing: float = Field(0.02, ge=0, lt=1)
    token_dropout: float = Field(0.1, ge=0, lt=1, description="share of title tokens replaced by <mask> while training")


@dataclass(frozen=True)
class TextStageTask:
    """Classify titles.

    Args:
        encoder: folder of the text encoder to start from.
        text: how it reads.
        mask_id: of its tokenizer; no token is dropped where it is None.
        special_ids: never dropped.
        start: state of a TextStageModule of this shape to start from; None: only the encoder has learned something.
    """

    encoder: Path
    tree: Taxonomy
    config: TextStageConfig
    text: TextInput
    mask_id: int | None
    special_ids: tuple[int, ...]
    name: str = "stage one"
    objective: Objective = PLAIN
    start: Path | None = None

    def build(self) -> nn.Module:
        encoder: Any = load(self.encoder).module
        classifier = TextClassifier(encoder, int(encoder.config.hidden_size), self.objective.layout(self.tree), self.config.dropout)
        module = TextStageModule(classifier, self)
        if self.start is not None:
            module.load_state_dict(load_file(self.start))
        return module

    def rates(self, module: nn.Module) -> dict[str, float]:
        return {}

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = module(batch["input_ids"], batch["targets"])
        return loss

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        assert isinstance(module, TextStageModule)
        logits, _ = module.classifier(*module.inputs(batch["input_ids"]))
        return badness(logits, batch["targets"], module.hierarchical_loss)


class TextStageModule(nn.Module):
    """The classifier with its loss, so that DDP sees one forward."""

    def __init__(self, classifier: TextClassifier, task: TextStageTask) -> None:
        super().__init__()
        self.classifier = classifier
        self.hierarchical_loss = task.objective.build(task.tree, task.config.label_smoothing)
        self.task = task

    def inputs(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Padded ids [B, max_tokens] -> ids and mask cut to the longest title of the batch."""
        mask = pad_mask(input_ids, self.task.text.pad_id)
        longest = int(mask.sum(dim=1).max())
        return input_ids[:, :longest].long(), mask[:, :longest]

    def forward(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        ids, mask = self.inputs(input_ids)
        if self.task.mask_id is not None and self.task.config.token_dropout:
            special = torch.isin(ids, torch.tensor(self.task.special_ids, device=ids.device))
            drop = (torch.rand(ids.shape, device=ids.device) < self.task.config.token_dropout) & ~special
            ids = ids.masked_fill(drop, self.task.mask_id)
        logits, _ = self.classifier(ids, mask)
        loss: Tensor = self.hierarchical_loss(logits, targets.long())
        return loss


def badness(logits: Tensor, targets: Tensor, hierarchical_loss: HierarchicalLoss) -> tuple[Tensor, int]:
    """Wrongly answered share of the labelled levels, plus a hundredth of the loss to break ties; summed over products.

    Levels are judged under the true parent: cheap, and it orders epochs as the decoded path would.
    """
    targets = targets.long()
    arrays = hierarchical_loss.arrays
    picked = arrays.best_siblings(hierarchical_loss.log_conditionals(logits))
    labelled = targets >= 0
    groups = arrays.groups_N[targets.clamp(min=0)]
    wrong = (picked.gather(1, groups) != targets) & labelled
    share = wrong.sum(dim=1) / labelled.sum(dim=1).clamp(min=1)
    return (share + 0.01 * hierarchical_loss.per_product(logits, targets)).sum(), len(targets)


def text_rows(task: TextStageTask, texts: Sequence[str], targets: np.ndarray) -> pa.Table:
    """Titles and int [n, D] targets (columns of the logits) -> the columns the task's batches have: input_ids [n, max_tokens], targets [n, D]."""
    tokens = Tokens(task.text, task.encoder).prepare(texts)
    ids = np.full((len(texts), task.text.max_tokens), task.text.pad_id, dtype=np.int32)
    ids[:, : tokens.shape[1]] = tokens
    return fixed_rows({"input_ids": ids, "targets": targets.astype(np.int32)})


def text_task(encoder: Path, tree: Taxonomy, config: TextStageConfig, objective: Objective = PLAIN) -> TextStageTask:
    text = Manifest.load(encoder).text
    if text is None:
        raise EncoderError(f"{encoder}: has no text tower; stage one reads titles, give it a text encoder")
    text = text.model_copy(update={"max_tokens": min(text.max_tokens, config.max_tokens)})
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
    return TextStageTask(encoder, tree, config, text, tokenizer.mask_token_id, tuple(tokenizer.all_special_ids), objective=objective)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def export(task: TextStageTask, weights: Path, folder: Path, *, batches: bool = False) -> None:
    """The trained classifier -> folder/{model.onnx (int8), tokenizer.json, text_stage.yaml}.

    Args:
        batches: a model that takes padded titles and their mask, to see what that would be worth. TextStage cannot open it.
    """
    # Here and not above: training workers import this module and export nothing.
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    module = task.build()
    module.load_state_dict(load_file(weights))
    assert isinstance(module, TextStageModule)
    classifier = module.classifier.eval()
    folder.mkdir(parents=True, exist_ok=True)
    settings: Any = classifier.encoder.config
    ids = torch.randint(5, int(settings.vocab_size), (2 if batches else 1, 9))
    free = {1: torch.export.Dim("tokens", min=2, max=task.text.max_tokens)} | ({0: torch.export.Dim("titles", min=1, max=1024)} if batches else {})
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # The exporter says that both inputs share one dimension, which is meant; the quantizer advises a pass that changes nothing here.
        warnings.simplefilter("ignore")
        logging.getLogger().addFilter(_no_advice)
        plain = Path(scratch) / "fp32.onnx"
        torch.onnx.export(
            classifier,
            (ids, torch.ones_like(ids)),
            str(plain),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits", "vector"],
            dynamic_shapes={"input_ids_BT": free, "attention_mask_BT": free},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        # Shape inference of the exporter and of the quantizer disagree on symbolic dimensions; the quantizer needs none.
        model = onnx.load(plain)
        del model.graph.value_info[:]
        onnx.save(model, plain)
        quantize_dynamic(plain, folder / MODEL, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
        if not batches:
            onnx.save(over_titles(onnx.load(folder / MODEL)), folder / MODEL)
    copyfile(task.encoder / TOKENIZER, folder / TOKENIZER)
    write_settings(
        folder / SETTINGS, TextStageSettings(text=task.text, columns=len(task.objective.layout(task.tree)), width=classifier.head.linear.in_features)
    )
