"""Stage one: titles to node logits on onnxruntime. Imports no torch and no transformers; a replica of it is small and starts fast.

Titles are run one by one, inside the model (training/title_loop.py). Dynamic int8 scales activations over whatever stands in a batch, so an answer
would depend on its neighbours; and padding costs on short texts what batching gains. Parallelism comes from several threads with a part each.
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

# Titles of one call of onnxruntime: enough that a call costs nothing beside them, few enough that several threads get equal shares.
PART = 32


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
        folder: holds model.onnx (ids [n, T], lengths [n] -> logits [n, C], vector [n, W]), tokenizer.json and text_stage.yaml.
        threads: parts of what is read that run at once.
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
        if not texts:
            return np.empty((0, self.settings.columns), np.float32), np.empty((0, self.settings.width), np.float32)
        parts = [texts[start : start + PART] for start in range(0, len(texts), PART)]
        outputs = list(self._pool.map(self._run, parts)) if self._pool and len(parts) > 1 else [self._run(part) for part in parts]
        return np.concatenate([logits for logits, _ in outputs]), np.concatenate([vectors for _, vectors in outputs])

    def _run(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        ids = self._tokens.prepare(texts).astype(np.int64)
        # No text holds the padding token, not even one in which it is written.
        lengths = np.count_nonzero(ids != self.settings.text.pad_id, axis=1)
        logits, vectors = self._session.run(["logits", "vector"], {"ids": ids, "lengths": lengths})
        return logits, vectors


def text_stage_fingerprint(folder: Path) -> str:
    """Of everything a title's vector depends on; stage two names it if it reads that vector."""
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in (MODEL, TOKENIZER, SETTINGS))).hexdigest()
