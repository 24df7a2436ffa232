#!/usr/bin/env python3
"""Checks what lockstep exports from GGUF files against the files' own reader.

    gguf_check.py --checkpoint DIR --source PACKAGES --gguf TYPE=FILE=PACKAGES ...

DIR is the safetensors checkpoint, each FILE the same model converted to TYPE,
and PACKAGES a directory with fp16/ and int8/, a whole-model package in each. Every
weight of the fp16 package must be the float16 of what the gguf package reads
and dequantizes; the packages of exact types must be the source's, byte for
byte; Q8_0's values must lie within its rounding of the checkpoint's. Prints
PASS or FAIL for each check and exits 0 only if every one passed.
"""

import argparse
import glob
import os
import sys

import gguf
import numpy as np

sys.dont_write_bytecode = True  # leaves nothing beside the sources
sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "oracle"))

import to_gguf
from package import MIL, Package, block, literals, require, tensor_type

# The order of weight.bin within a layer.
ORDER = ("attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down")
# Types whose packages are the source's: F16 too, since fp16 rounds to it anyway
# and int8 does not see what it lost on these values.
EXACT = ("F32", "BF16", "F16")


def find(directory, precision):
    found = glob.glob(os.path.join(directory, precision, "*.mlpackage"))
    require(len(found) == 1, f"{directory}: {len(found)} {precision} packages, want 1")
    return found[0]


def content(package):
    """The bytes of model and weights."""
    inner = os.path.join(package, "Data", "com.apple.CoreML")
    parts = []
    for name in ("model.mlmodel", os.path.join("weights", "weight.bin")):
        with open(os.path.join(inner, name), "rb") as file:
            parts.append(file.read())
    return parts


def stored_weights(package):
    """The float16 blobs of a package in the order of weight.bin."""
    blobs = {}
    for function in package.functions().values():
        for operation in block(function).operations:
            for _, value in literals(operation):
                if value.WhichOneof("value") == "blobFileValue":
                    require(tensor_type(value.type)[0] == MIL.FLOAT16, f"{operation.type}: a blob is not float16")
                    blobs[value.blobFileValue.offset] = package.value(value)
    return [blobs[offset] for offset in sorted(blobs)]


def read_gguf(path):
    """Every tensor of a GGUF file as float32, by the package's own reader."""
    out = {}
    for tensor in gguf.GGUFReader(path).tensors:
        shape = tuple(int(d) for d in reversed(tensor.shape))
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        out[tensor.name] = (tensor, np.asarray(data, np.float32).reshape(shape))
    return out


def check_weights(tensors, package):
    """The fp16 package holds the rounding of every layer tensor."""
    stored = stored_weights(package)
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))
    require(len(stored) == layers * len(ORDER), f"{len(stored)} weights, want {layers * len(ORDER)}")
    compared = 0
    for index, got in enumerate(stored):
        name = f"blk.{index // len(ORDER)}.{ORDER[index % len(ORDER)]}.weight"
        want = tensors[name][1].astype(np.float16)
        require(got.size == want.size, f"{name}: {got.size} values, want {want.size}")
        wrong = np.flatnonzero(got.reshape(-1).view(np.uint16) != want.reshape(-1).view(np.uint16))
        require(wrong.size == 0, f"{name}: {wrong.size} values differ, the first at {wrong[:1]}")
        compared += got.size
    return f"{compared} weights of {layers} layers, equal to the bit"


def check_same(source, package):
    """Two packages have the same bytes."""
    ours, theirs = content(package), content(source)
    for name, a, b in zip(("model.mlmodel", "weight.bin"), ours, theirs):
        require(a == b, f"{name} differs from the safetensors checkpoint's")
    return f"{sum(len(part) for part in ours)} bytes"


def check_values(checkpoint, tensors, kind):
    """Values, row order and shapes are the checkpoint's, within the type."""
    worst = differ = total = 0
    for name, values in checkpoint.items():
        tensor, got = tensors[name]
        require(got.shape == values.shape, f"{name}: shape {got.shape}, want {values.shape}")
        bound = np.zeros_like(values)
        if kind == "Q8_0" and values.ndim == 2:
            raw = tensor.data.reshape(-1, 34)
            scale = np.abs(raw[:, :2].copy().view(np.float16).astype(np.float64))
            # Half a step, and the scale's own rounding up to 127 times.
            bound = np.repeat(scale * (0.5 + 127 * 2**-11), 32, axis=1).reshape(values.shape)
        elif kind == "F16" and values.ndim == 2:
            bound = np.maximum(np.abs(values.astype(np.float64)) * 2**-11, 2**-25)
        miss = np.abs(got.astype(np.float64) - values)
        require(np.all(miss <= bound), f"{name}: off by {np.max(miss - bound):.3g} more than {kind} may")
        worst, differ, total = max(worst, float(miss.max())), differ + int(np.count_nonzero(miss)), total + values.size
    return f"{differ} of {total} values differ, by {worst:.3g} at most"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--source", required=True, help="packages exported from the checkpoint")
    parser.add_argument("--gguf", action="append", required=True, metavar="TYPE=FILE=PACKAGES")
    options = parser.parse_args()
    checkpoint = {}
    for path in sorted(glob.glob(os.path.join(options.checkpoint, "*.safetensors"))):
        for name, values in to_gguf.read_bfloat16(path):
            checkpoint[to_gguf.gguf_name(name)[0]] = values

    passed, failed = 0, 0

    def run(name, check, *arguments):
        nonlocal passed, failed
        try:
            print(f"PASS {name}\n     {check(*arguments)}", flush=True)
            passed += 1
        except Exception as error:  # a check that cannot be made has failed
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
            failed += 1

    for triple in options.gguf:
        kind, path, packages = triple.split("=")
        tensors = read_gguf(path)
        run(f"GGUF {kind}: values", check_values, checkpoint, tensors, kind)
        run(f"GGUF {kind}: weights", lambda: check_weights(tensors, Package(find(packages, "fp16"))))
        for precision in ("fp16", "int8") if kind in EXACT else ():
            run(
                f"GGUF {kind}: {precision} package",
                lambda: check_same(find(options.source, precision), find(packages, precision)),
            )
        if kind not in EXACT:
            # What the comparison of bytes would say of other values.
            run(f"GGUF {kind}: self-test", lambda: sees_difference(options.source, packages))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def sees_difference(source, packages):
    """Rounded weights must not pass for the source's."""
    try:
        check_same(find(source, "fp16"), find(packages, "fp16"))
    except Exception as error:
        return f"told apart: {error}"
    raise AssertionError("packages of other values compare equal")


if __name__ == "__main__":
    sys.exit(main())
