"""What a user would write without prodcat: one FastAPI and uvicorn process, transformers and torch in fp32, the weights of stage one.

    python benchmarks/plain_server.py ENCODER WEIGHTS LABELS --port 8100 [--threads 2] [--on-loop]

Started by serving.py. ENCODER: folder in the hub's format; WEIGHTS: safetensors of encoder and a linear layer; LABELS: JSON list.
"""

import argparse
import json
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer


class Product(BaseModel):
    title: str


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("encoder", type=Path)
    arguments.add_argument("weights", type=Path)
    arguments.add_argument("labels", type=Path)
    arguments.add_argument("--port", type=int, default=8100)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--max-tokens", type=int, default=64)
    arguments.add_argument("--on-loop", action="store_true", help="compute on the event loop, not in threads")
    a = arguments.parse_args()
    torch.set_num_threads(a.threads)
    labels = json.loads(a.labels.read_text())
    tokenizer = AutoTokenizer.from_pretrained(a.encoder)
    encoder = AutoModel.from_pretrained(a.encoder, dtype=torch.float32).eval()
    weights = load_file(a.weights)
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}, strict=False)
    head = torch.nn.Linear(weights["head.weight"].shape[1], len(labels))
    head.load_state_dict({"weight": weights["head.weight"], "bias": weights["head.bias"]})
    app = FastAPI()

    def answer(product: Product) -> dict[str, object]:
        batch = tokenizer(product.title, return_tensors="pt", truncation=True, max_length=a.max_tokens)
        with torch.inference_mode():
            hidden = encoder(**batch).last_hidden_state
            mask = batch["attention_mask"][:, :, None].float()
            probabilities = head((hidden * mask).sum(1) / mask.sum(1)).softmax(-1)[0]
        best = int(probabilities.argmax())
        return {"category": labels[best], "confidence": float(probabilities[best])}

    if a.on_loop:

        @app.post("/classify")
        async def classify(product: Product) -> dict[str, object]:
            return answer(product)

    else:
        app.post("/classify")(answer)
    uvicorn.run(app, host="127.0.0.1", port=a.port, log_level="error")


if __name__ == "__main__":
    main()
