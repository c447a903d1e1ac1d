"""Stage one: titles to node logits on onnxruntime. Imports no torch and no transformers; a replica of it is small and starts fast.

Titles are run one by one. Dynamic int8 scales activations over whatever stands in a batch, so an answer would depend on its neighbours; and padding
costs on short texts what batching gains. Parallelism comes from running several titles at once, each on one thread.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from prodcat.config import Config, read_yaml, validate
from prodcat.encoders.inputs import TextInput, Tokens

MODEL, TOKENIZER, SETTINGS = "model.onnx", "tokenizer.json", "text_stage.yaml"


class TextStageSettings(Config):
    """What the exported model needs to be told; written by training/text_stage.py.

    Args:
        columns: of its logits (taxonomy.HeadLayout); Bundle checks it.
    """

    text: TextInput
    columns: int
    width: int


class TextStage:
    """Titles -> node logits.

    Args:
        folder: holds model.onnx (input_ids, attention_mask -> logits [1, C], vector [1, W]), tokenizer.json and text_stage.yaml.
        threads: titles run at once.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self.settings = validate(TextStageSettings, read_yaml(folder / SETTINGS), str(folder / SETTINGS))
        self._tokens = Tokens(self.settings.text, folder)
        self.fingerprint = text_stage_fingerprint(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def read(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """n texts -> logits float32 [n, C] and vectors float32 [n, W], each the same as if it were alone."""
        encoded = [self._tokens.prepare([text]) for text in texts]
        outputs = list(self._pool.map(self.run, encoded)) if self._pool and len(encoded) > 1 else [self.run(ids) for ids in encoded]
        logits = np.stack([logit for logit, _ in outputs]) if outputs else np.empty((0, self.settings.columns), np.float32)
        vectors = np.stack([vector for _, vector in outputs]) if outputs else np.empty((0, self.settings.width), np.float32)
        return logits, vectors

    def run(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids [1, T] of one title -> logits [C], vector [W]."""
        input_ids = ids.astype(np.int64)
        logits, vector = self._session.run(["logits", "vector"], {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)})
        return logits[0], vector[0]


def text_stage_fingerprint(folder: Path) -> str:
    """Of everything a title's vector depends on; stage two names it if it reads that vector."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in (MODEL, TOKENIZER, SETTINGS))).hexdigest()
