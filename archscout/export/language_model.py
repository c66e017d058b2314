"""A trained language model without archscout: the perplexity of texts, and samples.

This program lies beside architecture.json, vocabulary.json and model.safetensors, and needs Python with torch and safetensors:

    python language_model.py --text story.txt
    python language_model.py --sample 100 --start "Once upon a time" --temperature 0.8 --seed 0

As a module: `Model(folder)`, its `encode`, `text`, `perplexity` and `sample`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

State = list[Tensor]
UNKNOWN, END_OF_LINE = "<unk>", "<eos>"
SHORT, LONG, MOST_COLUMNS = 2000, 40, 32
"""Texts of up to so many tokens are read in one piece; longer ones in columns of so many windows, up to so many side by side."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda x: x, "activation_tanh": torch.tanh,
    "activation_sigm": torch.sigmoid, "activation_leaky_relu": lambda x: F.leaky_relu(x, 0.01),
}  # fmt: skip


class Model:
    """The model of a folder, on the CPU."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        facts = json.loads((folder / "architecture.json").read_text("utf8"))
        self.network: dict[str, Any] = facts["network"]
        self.window = int(facts["task"]["shape"][0])
        vocabulary = json.loads((folder / "vocabulary.json").read_text("utf8"))
        self.level, self.entries = vocabulary["level"], vocabulary["entries"]
        self.numbers = {entry: number for number, entry in enumerate(self.entries)}
        self.weights = load_file(folder / "model.safetensors")

    def encode(self, text: bytes) -> list[int]:
        """The tokens of a UTF-8 text."""
        if self.level == "byte":
            tokens = [f"{byte:02x}" for byte in text]
        else:
            lines = text.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
            tokens = [token for line in (lines if lines[-1] else lines[:-1]) for token in (*line.split(), END_OF_LINE)]
        other = self.numbers.get(UNKNOWN)
        strange = next((token for token in tokens if token not in self.numbers), None)
        if strange is not None and other is None:
            raise ValueError(f"the {self.level} '{strange}' is not in the vocabulary, which has no {UNKNOWN}")
        return [self.numbers.get(token, other) for token in tokens]  # type: ignore[misc]

    def text(self, tokens: list[int]) -> str:
        """The text of tokens."""
        entries = [self.entries[token] for token in tokens]
        if self.level == "byte":
            return b"".join(b"?" if entry == UNKNOWN else bytes.fromhex(entry) for entry in entries).decode("utf8", "replace")
        return re.sub(" ?\n ?", "\n", " ".join("\n" if entry == END_OF_LINE else entry for entry in entries))

    def step(self, tokens: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        """Logits (B, V) of what follows tokens (B,), and the hidden states of every layer after them; None before the first."""
        x = self.weights["embedding.weight"][tokens]
        kind = self.network["kind"]
        cell = {"highway": self._highway, "recurrent": self._recurrent, "lstm": self._lstm, "gru": self._gru}[kind]
        output, states = cell(x, states)
        return F.linear(output, self.weights["embedding.weight"], self.weights["bias"]), states

    def _highway(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        h = torch.zeros_like(x) if states is None else states[0][0]

        def node(state: Tensor, product: Tensor, activation: str) -> Tensor:
            gate, new = product.chunk(2, -1)
            return torch.lerp(state, ACTIVATIONS[activation](new), torch.sigmoid(gate))

        found = [node(h, torch.cat([x, h], -1) @ self.weights["node0.weight"], "tanh")]
        for (source, activation), name in zip(self.network["nodes"], self.network["names"], strict=True):
            found.append(node(found[source], found[source] @ self.weights[name], activation))
        mean = torch.stack([found[output] for output in self.network["outputs"]]).mean(0)
        return mean, [[mean]]

    def _recurrent(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        ends = []
        for layer, (_, size) in enumerate(self.network["sizes"]):
            hidden = self.network["hidden"]
            state = [x.new_zeros(len(x), size) for _ in hidden] if states is None else states[layer]
            values = [x, *state]
            for place, (operation, sources) in enumerate(self.network["nodes"]):
                inputs = [values[source] for source in sources]
                values.append(self._node(operation, inputs, f"cells.{layer}.layers.{place}"))
            state = [values[1 + len(state) + node] for node in hidden]
            ends.append(state)
            x = state[0]
        return x, ends

    def _node(self, operation: str, inputs: list[Tensor], name: str) -> Tensor:
        if operation == "linear":
            return F.linear(torch.cat(inputs, -1), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
        if operation == "blend":
            return inputs[0] * inputs[1] + (1 - inputs[0]) * inputs[2]
        if operation == "elementwise_prod":
            return torch.stack(inputs).prod(0)
        if operation == "elementwise_sum":
            return torch.stack(inputs).sum(0)
        return ACTIVATIONS[operation](inputs[0])

    def _gates(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w = self.weights
        of_input = F.linear(x, w["layer.weight_ih_l0"], w["layer.bias_ih_l0"])
        return of_input, F.linear(h, w["layer.weight_hh_l0"], w["layer.bias_hh_l0"])

    def _lstm(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        h, c = (torch.zeros_like(x), torch.zeros_like(x)) if states is None else states[0]
        of_input, of_hidden = self._gates(x, h)
        i, f, g, o = (of_input + of_hidden).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, [[h, c]]

    def _gru(self, x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
        h = torch.zeros_like(x) if states is None else states[0][0]
        (reset, update, new), (reset_h, update_h, new_h) = (gates.chunk(3, -1) for gates in self._gates(x, h))
        z = torch.sigmoid(update + update_h)
        h = (1 - z) * torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h) + z * h
        return h, [[h]]

    def perplexity(self, text: bytes) -> float:
        """Of all tokens but the first of a text; of a long text fewer than a window's tokens at its end are left out."""
        tokens = torch.tensor(self.encode(text))
        if len(tokens) < 2:
            raise ValueError("a perplexity needs a text of two tokens or more")
        window = len(tokens) - 1 if len(tokens) <= max(SHORT, self.window) else self.window
        count = (len(tokens) - 1) // window
        columns = max(1, min(MOST_COLUMNS, count // LONG))
        rows = -(-count // columns)
        lines = torch.arange(columns)[:, None] * rows + torch.arange(rows)
        places = (lines.clamp(max=count - 1)[:, :, None] * window + torch.arange(window)).flatten(1)
        counted = (lines < count).repeat_interleave(window, 1)
        total, states = 0.0, None
        with torch.inference_mode():
            for step in range(places.shape[1]):
                logits, states = self.step(tokens[places[:, step]], states)
                losses = F.cross_entropy(logits, tokens[places[:, step] + 1], reduction="none")
                total += float(losses[counted[:, step]].double().sum())
        return math.exp(min(total / (count * window), 700.0))

    def sample(self, count: int, start: str = "", temperature: float = 1.0, seed: int = 0) -> str:
        """The text of `count` tokens that follow `start`; temperature 0 for the likeliest ones."""
        end = "0a" if self.level == "byte" else END_OF_LINE
        tokens = self.encode(start.encode())[: None if self.level == "byte" else -1] or [self.numbers.get(end, 0)]
        noise, states, written = torch.Generator().manual_seed(seed), None, []
        with torch.inference_mode():
            for token in tokens:
                logits, states = self.step(torch.tensor([token]), states)
            for _ in range(count):
                if UNKNOWN in self.numbers:
                    logits[0, self.numbers[UNKNOWN]] = -torch.inf
                if temperature > 0:
                    cooled = (logits[0] - logits[0].max()) / temperature
                    token = int(torch.multinomial(cooled.softmax(0), 1, generator=noise))
                else:
                    token = int(logits[0].argmax())
                written.append(token)
                logits, states = self.step(torch.tensor([token]), states)
        return self.text(written)


def _read(path: Path) -> bytes:
    packed, ending = path.read_bytes(), path.suffix.lower()
    return lzma.decompress(packed) if ending == ".xz" else gzip.decompress(packed) if ending == ".gz" else packed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A trained language model: the perplexity of texts, and samples.")
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).parent, help="where the model lies; by default beside this file"
    )
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="texts to measure")
    parser.add_argument("--sample", type=int, default=0, help="tokens to write")
    parser.add_argument("--start", default="", help="what the sample goes on from")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = Model(asked.folder)
    for path in asked.text:
        try:
            print(f"{path}: perplexity {model.perplexity(_read(path)):.4f} per {model.level}")
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            parser.error(f"the text '{path}' cannot be measured: {error}")
    if asked.sample:
        print(model.sample(asked.sample, asked.start, asked.temperature, asked.seed))


if __name__ == "__main__":
    main()
