"""Encoders trained on the catalog at hand, from random weights or from somebody else's: what each family learns from. Knows no Ray.

    roberta  masked language modelling of the titles (Devlin et al. 2019; masks drawn anew at every step, as in RoBERTa); if asked, the categories
             afterwards, by the hierarchical loss
    vit      the catalog's categories, by the hierarchical loss
    clip     image-title pairs, contrastively (Radford et al. 2021; open_clip's own loss, which gathers the negatives of all workers)

Shapes: B products, S pixels a side, T tokens, V entries of the vocabulary, D levels.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from prodcat.config import Config
from prodcat.encoders.encoder import Encoder, load
from prodcat.encoders.inputs import ImageInput
from prodcat.errors import EncoderError
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.model.losses import HierarchicalLoss
from prodcat.taxonomy import Taxonomy
from prodcat.training.loop import Batch, LoopConfig


class TowerTraining(Config):
    """How the weights of an encoder folder move, whatever they learn from."""

    loop: LoopConfig = LoopConfig(epochs=10, batch_size=128, learning_rate=1e-3, weight_decay=0.05)
    encoder_rate: float = Field(
        1.0, gt=0, le=1, description="factor on the learning rate of the encoder's own weights; the fresh head learns at the full rate"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="further factor from each block to the one below, so that what is general moves least (Clark et al. 2020)",
    )
    pixels: int | None = Field(
        None, ge=16, description="vit, clip: side of the images while training, position embeddings resampled there and back; null: the encoder's own"
    )


class EncoderTraining(TowerTraining):
    """How an encoder is trained."""

    mask_share: float = Field(0.15, gt=0, lt=1, description="roberta: share of the tokens that are predicted")
    categories: LoopConfig | None = Field(
        None, description="roberta: after masked language modelling, the training by the catalog's categories, at the same rates; null: none"
    )
    smallest_crop: float = Field(0.6, gt=0, le=1, description="vit, clip: smallest share of the image's area that a random crop keeps")


class Priced:
    """The part of a Task whose module prices a batch itself."""

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        loss: Tensor = module(batch)
        return loss

    def badness(self, module: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        size = len(next(iter(batch.values())))
        return module(batch) * size, size


@dataclass(frozen=True)
class EncoderTask(Priced):
    """Train the encoder of a folder by what its family learns from.

    Batches: roberta input_ids int32 [B, T], padded; vit image uint8 [B, S, S, 3] and targets int32 [B, D]; clip image and input_ids.

    Args:
        by_categories: a roberta learns from targets, too, which its batches then have.
    """

    folder: Path
    tree: Taxonomy
    training: EncoderTraining
    name: str
    by_categories: bool = False

    def build(self) -> nn.Module:
        encoder = load(self.folder)
        see(encoder, self.image(encoder))
        make = _TitleClassifier if self.by_categories else MODULES[encoder.family]
        return make(encoder, self.training, self.tree)

    def image(self, encoder: Encoder) -> ImageInput | None:
        """How images are prepared while training; None for a family without."""
        return seen(encoder, self.training)

    def rates(self, module: nn.Module) -> dict[str, float]:
        return layer_rates([name for name, _ in module.named_parameters()], self.training)


# A block of a tower and its number, as transformers, timm and open_clip call them; and what lies below the first block.
_BLOCK = re.compile(r"^(?P<tower>encoder\..*?(?:blocks|layers?|resblocks))\.(?P<number>\d+)\.")
_BELOW = re.compile(r"embed|cls_token|class_token|reg_token|conv1|ln_pre|norm_pre")
_OWN = "encoder."


def layer_rates(names: Sequence[str], training: TowerTraining) -> dict[str, float]:
    """Parameter name -> factor on the learning rate: encoder_rate at a tower's last block, layer_decay less for each block below it."""
    blocks = {name: (match["tower"], int(match["number"])) for name in names if (match := _BLOCK.match(name))}
    depths: dict[str, int] = {}
    for tower, number in blocks.values():
        depths[tower] = max(depths.get(tower, 0), number + 1)
    rates = {}
    for name in names:
        if not name.startswith(_OWN):
            continue
        if name in blocks:
            tower, number = blocks[name]
            below = depths[tower] - 1 - number
        else:
            below = max(depths.values(), default=0) if _BELOW.search(name) else 0
        rates[name] = training.encoder_rate * training.layer_decay**below
    return rates


def first_blocks(names: Sequence[str], count: int) -> list[str]:
    """Of an image tower's parameters, those of its first `count` blocks and of what lies below; none if it has no further block."""
    numbers = {name: int(match["number"]) for name in names if (match := _BLOCK.match(name))}
    if count == 0 or max(numbers.values(), default=0) < count:
        return []
    return [name for name in names if (numbers[name] < count if name in numbers else _BELOW.search(name))]


def seen(encoder: Encoder, training: TowerTraining) -> ImageInput | None:
    """How images are prepared while training; None for a family without."""
    own: ImageInput | None = getattr(encoder.towers.get("image"), "image", None)
    return own if own is None or training.pixels is None else own.model_copy(update={"size": training.pixels})


def see(encoder: Encoder, image: ImageInput | None) -> None:
    """Make an encoder's image tower read images prepared as `image` says: its position embeddings are resampled if the size changes.

    Raises:
        EncoderError: the tower has one size only.
    """
    if image is None:
        return
    tower: Any = encoder.towers["image"]
    if tower.image.size != image.size:
        module: Any = encoder.module if encoder.family == "vit" else getattr(encoder.module, "visual", None)
        if not hasattr(module, "set_input_size"):
            raise EncoderError(f"{encoder.folder}: its image tower sees {tower.image.size} pixels and no other size; leave `pixels` null")
        module.set_input_size(image.size)
    tower.image = image


class _MaskedLanguage(nn.Module):
    def __init__(self, encoder: Encoder, training: EncoderTraining, tree: Taxonomy) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        self.share = training.mask_share
        # Vocabularies differ in where their special tokens stand; the folder's own tokenizer says.
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(encoder.folder, trust_remote_code=False)
        if tokenizer.mask_token_id is None:
            raise EncoderError(f"{encoder.folder}: its vocabulary has no mask token for masked language modelling; set its training to null")
        self.mask_id, self.pad_id = int(tokenizer.mask_token_id), int(tokenizer.pad_token_id)
        self.special_ids = sorted(set(tokenizer.all_special_ids))
        settings: Any = encoder.module.config
        width = int(settings.hidden_size)
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(int(settings.vocab_size)))

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"].long()
        mask = ids != self.pad_id
        longest = int(mask.sum(dim=1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        ordinary = ~torch.isin(ids, torch.tensor(self.special_ids, device=ids.device))
        chosen = (torch.rand(ids.shape, device=ids.device) < self.share) & ordinary
        # Of the chosen, 80 % are masked, 10 % replaced, 10 % left, so that the encoder also looks at what stands there.
        fate = torch.rand(ids.shape, device=ids.device)
        strange = torch.randint(len(self.bias), ids.shape, device=ids.device)
        shown = torch.where(chosen & (fate < 0.8), self.mask_id, torch.where(chosen & (fate >= 0.9), strange, ids))
        states = self.encoder(input_ids=shown, attention_mask=mask.long()).last_hidden_state
        table = self.encoder.get_input_embeddings().weight
        logits = self.transform(states[chosen]) @ table.T + self.bias
        # A batch of very short titles may have nothing chosen; the sum keeps the graph, and adds nothing.
        return functional.cross_entropy(logits, ids[chosen]) if len(logits) else states.sum() * 0


class _TitleClassifier(nn.Module):
    """The head reads the encoder's own pooled vector, so it is that vector which learns."""

    def __init__(self, encoder: Encoder, training: EncoderTraining, tree: Taxonomy) -> None:
        super().__init__()
        self.encoder: Any = encoder.module
        tower: Any = encoder.towers["text"]
        self.tower = tower
        self.dropout = nn.Dropout(0.1)
        self.head = HierarchicalHead(tower.dim, tree)
        self.hierarchical_loss = HierarchicalLoss(tree, label_smoothing=0.05)

    def forward(self, batch: Batch) -> Tensor:
        ids = batch["input_ids"].long()
        longest = int((ids != self.tower.tokens.settings.pad_id).sum(dim=1).max())
        vectors = self.tower.forward(ids[:, :longest])
        loss: Tensor = self.hierarchical_loss(self.head(self.dropout(vectors)), batch["targets"].long())
        return loss


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


class FolderTask(Protocol):
    """A Task whose module holds the encoder of a folder as `encoder`."""

    @property
    def folder(self) -> Path: ...

    def image(self, encoder: Encoder) -> ImageInput | None: ...


def save_trained(task: FolderTask, weights: Path, ready: Path) -> None:
    """The encoder of task.folder with its trained weights -> a whole encoder folder."""
    encoder = load(task.folder)
    tower: Any = encoder.towers.get("image")
    own = None if tower is None else tower.image
    see(encoder, task.image(encoder))
    encoder.module.load_state_dict({name.removeprefix(_OWN): value for name, value in load_file(weights).items() if name.startswith(_OWN)})
    see(encoder, own)
    encoder.save(ready)
