"""What surrounds a package: the model's config, golden vectors, host inputs.

Everything here is derived from config.json and from the meaning of the graph's
inputs, independently of the Go code that it helps to check. Values are float32:
the question is what the program means, not how float16 rounds it.
"""

import json
import math
import struct

import numpy as np

HIDDEN_MASK = -1e4  # additive score of a slot that a row must not see


class Config:
    """The decoder's dimensions and rotation, from config.json."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
        self.hidden = raw["hidden_size"]
        self.heads = raw["num_attention_heads"]
        self.kv_heads = raw["num_key_value_heads"]
        self.head_dim = self.hidden // self.heads
        scaling = raw.get("rope_scaling") or raw.get("rope_parameters") or {}

        def key(name, default=None):
            return raw[name] if name in raw else scaling.get(name, default)

        turned = int(self.head_dim * key("partial_rotary_factor", 1.0))
        self.pairs = turned // 2
        factors = np.ones(self.pairs)
        self.attention_factor = 1.0
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind == "longrope":
            factors = np.array(scaling["short_factor"], np.float64)
            original = key("original_max_position_embeddings")
            stretch = scaling.get("factor") or raw["max_position_embeddings"] / original
            derived = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
            self.attention_factor = scaling.get("attention_factor") or derived
        elif kind != "default":
            raise ValueError(f"{path}: RoPE type {kind!r} is not known")
        if factors.shape != (self.pairs,):
            raise ValueError(f"{path}: {factors.size} RoPE factors for {self.pairs} pairs")
        exponents = 2 * np.arange(self.pairs) / turned
        self.inv_freq = (1 / (factors * key("rope_theta", None) ** exponents)).astype(np.float32)

    def rope_row(self, position):
        """cos and sin [pairs] of one position, the attention factor included."""
        angle = (np.float32(position) * self.inv_freq).astype(np.float64)
        m = self.attention_factor
        return (m * np.cos(angle)).astype(np.float32), (m * np.sin(angle)).astype(np.float32)


def host_inputs(config, x_rows, position, rows, slots):
    """The inputs of one pass: len(x_rows) live rows from position on, T = rows.

    Dead rows repeat the last live row and write nothing.
    """
    live = len(x_rows)
    if not (1 <= live <= rows and position + live <= slots):
        raise ValueError(f"{live} live rows of {rows} at position {position} of {slots} slots")
    inputs = {
        "x": np.zeros((1, config.hidden, rows, 1), np.float32),
        "rope_cos": np.zeros((rows, config.pairs), np.float32),
        "rope_sin": np.zeros((rows, config.pairs), np.float32),
        "attn_mask": np.full((1, 1, rows, slots), HIDDEN_MASK, np.float32),
        "kv_write_mask": np.zeros((1, 1, slots, rows), np.float32),
    }
    for row in range(rows):
        source = min(row, live - 1)
        inputs["x"][0, :, row, 0] = x_rows[source]
        inputs["rope_cos"][row], inputs["rope_sin"][row] = config.rope_row(position + source)
        inputs["attn_mask"][0, 0, row, : position + source + 1] = 0
        if row < live:
            inputs["kv_write_mask"][0, 0, position + row, row] = 1
    return inputs


def read_safetensors(path):
    """All float32 and int32 tensors of a safetensors file, by name."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        dtype = {"F32": "<f4", "I32": "<i4"}[info["dtype"]]
        tensors[name] = np.frombuffer(data[begin:end], dtype).reshape(info["shape"])
    return tensors
