"""Encoders that start from random weights, trained on the catalog at hand: what each family learns from. Knows no Ray.

    roberta  masked language modelling of the titles (Devlin et al. 2019; masks drawn anew at every step, as in RoBERTa)
    vit      the catalog's categories, by the hierarchical loss
    clip     image-title pairs, contrastively (Radford et al. 2021; open_clip's own loss, which gathers the negatives of all workers)

Shapes: B products, S pixels a side, T tokens, V entries of the vocabulary, D levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from prodcat.config import Config
from prodcat.encoders import vocabulary
from prodcat.encoders.encoder import Encoder, load
from prodcat.encoders.inputs import ImageInput
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.model.losses import HierarchicalLoss
from prodcat.taxonomy import Taxonomy
from prodcat.training.loop import Batch, LoopConfig


class EncoderTraining(Config):
    """How an encoder from scratch is trained."""

    loop: LoopConfig = LoopConfig(epochs=10, batch_size=128, learning_rate=1e-3, weight_decay=0.05)
    mask_share: float = Field(0.15, gt=0, lt=1, description="roberta: share of the tokens that are predicted")
    smallest_crop: float = Field(0.6, gt=0, le=1, description="vit, clip: smallest share of the image's area that a random crop keeps")


@dataclass(frozen=True)
class EncoderTask:
    """Train the encoder of a folder by what its family learns from.

    Batches: roberta input_ids int32 [B, T], padded; vit image uint8 [B, S, S, 3] and targets int32 [B, D]; clip image and input_ids.
    """

    folder: Path
    tree: Taxonomy
    training: EncoderTraining
    name: str

    def build(self) -> nn.Module:
        encoder = load(self.folder)
        return MODULES[encoder.family](encoder, self.training, self.tree)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = module(batch)
        return loss

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        size = len(next(iter(batch.values())))
        return module(batch) * size, size


class _MaskedLanguage(nn.Module):
    def __init__(self, encoder: Encoder, training: EncoderTraining, tree: Taxonomy) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        self.share = training.mask_share
        settings: Any = encoder.module.config
        width = int(settings.hidden_size)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(int(settings.vocab_size)))

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"].long()
        mask = ids != vocabulary.PAD_ID
        longest = int(mask.sum(dim=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        ordinary = ids >= len(vocabulary.SPECIAL)
        chosen = (torch.rand(ids.shape, device=ids.device) < self.share) & ordinary
        # Of the chosen, 80 % are masked, 10 % replaced, 10 % left, so that the encoder also looks at what stands there.
        fate = torch.rand(ids.shape, device=ids.device)
        strange = torch.randint(len(vocabulary.SPECIAL), len(self.bias), ids.shape, device=ids.device)
        shown = torch.where(chosen & (fate < 0.8), vocabulary.MASK_ID, torch.where(chosen & (fate >= 0.9), strange, ids))
        states = self.encoder(input_ids=shown, attention_mask=mask.long()).last_hidden_state
        table = self.encoder.get_input_embeddings().weight
        logits = self.transform(states[chosen]) @ table.T + self.bias
        # A batch of very short titles may have nothing chosen; the sum keeps the graph, and adds nothing.
        return functional.cross_entropy(logits, ids[chosen]) if len(logits) else states.sum() * 0


class _Contrastive(nn.Module):
    def __init__(self, encoder: Encoder, training: EncoderTraining, tree: Taxonomy) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        tower: Any = encoder.towers["image"]
        self.image: ImageInput = tower.image
        self.augment = _augmentation(self.image, training)

    def forward(self, batch: Batch) -> Tensor:
        pixels = _augmented(batch["image"], self.augment) if self.training else batch["image"]
        images = self.encoder.encode_image(self.image.normalise(pixels), normalize=True)
        texts = self.encoder.encode_text(batch["input_ids"].long(), normalize=True)
        # open_clip and torchvision take seconds to import; workers that train something else need neither.
        from open_clip.loss import ClipLoss

        workers = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        rank = torch.distributed.get_rank() if workers > 1 else 0
        contrast = ClipLoss(local_loss=workers > 1, gather_with_grad=workers > 1, rank=rank, world_size=workers)
        # Radford et al. keep the scale below 100.
        loss: Tensor = contrast(images, texts, self.encoder.logit_scale.exp().clamp(max=100))
        return loss


class _ImageClassifier(nn.Module):
    def __init__(self, encoder: Encoder, training: EncoderTraining, tree: Taxonomy) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        tower: Any = encoder.towers["image"]
        self.tower = tower
        self.augment = _augmentation(self.tower.image, training)
        self.head = HierarchicalHead(self.tower.dim, tree)
        self.hierarchical_loss = HierarchicalLoss(tree, label_smoothing=0.05)

    def forward(self, batch: Batch) -> Tensor:
        pixels = _augmented(batch["image"], self.augment) if self.training else batch["image"]
        loss: Tensor = self.hierarchical_loss(self.head(self.tower.forward(self.tower.image.normalise(pixels))), batch["targets"].long())
        return loss


def _augmentation(image: ImageInput, training: EncoderTraining) -> Any:
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(image.size, scale=(training.smallest_crop, 1.0), ratio=(0.8, 1.25), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


def _augmented(pixels: Tensor, augment: Any) -> Tensor:
    """uint8 [B, S, S, 3] -> the same, each image with its own draw."""
    return torch.stack([augment(image.permute(2, 0, 1)).permute(1, 2, 0) for image in pixels])


# Family -> the module that trains it; each holds the encoder's own module as `encoder`.
MODULES: dict[str, Callable[[Encoder, EncoderTraining, Taxonomy], nn.Module]] = {
    "roberta": _MaskedLanguage,
    "vit": _ImageClassifier,
    "clip": _Contrastive,
}


def token_rows(encoder: Encoder, texts: Sequence[str]) -> Any:
    """Titles -> int32 [n, max_tokens], padded to the encoder's own length, so that every block has the same shape."""
    tower: Any = encoder.towers["text"]
    settings = tower.tokens.settings
    ids = torch.from_numpy(tower.prepare(list(texts)))
    return functional.pad(ids, (0, settings.max_tokens - ids.shape[1]), value=settings.pad_id).numpy()


def save_trained(task: EncoderTask, weights: Path, ready: Path) -> None:
    """The encoder of task.folder with its trained weights -> a whole encoder folder."""
    encoder = load(task.folder)
    prefix = "encoder."
    encoder.module.load_state_dict({name.removeprefix(prefix): value for name, value in load_file(weights).items() if name.startswith(prefix)})
    encoder.save(ready)
