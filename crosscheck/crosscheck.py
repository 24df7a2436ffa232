#!/usr/bin/env python3
"""Checks exported packages with Apple's library and against golden vectors.

    crosscheck.py --golden GOLDEN.safetensors --config CONFIG.json [--self-test] PACKAGE...

Each check prints PASS or FAIL with its name; the closing line counts them. The
exit code is 0 only if every check passed.
"""

import argparse
import copy
import logging
import os
import re
import sys

import numpy as np

sys.dont_write_bytecode = True  # leaves nothing beside the sources
logging.getLogger("coremltools").setLevel(logging.ERROR)  # Apple's runtime is absent on Linux; not needed

import faults
import host
import package as form
from evaluate import Function
from package import Failed, Package, require

PROMPTS = ("p0", "p1", "p2")
# Least cosine per token of hidden, and of hidden - x.
THRESHOLDS = {"fp16": (0.9999, 0.999), "int8": (0.999, 0.99)}
# Largest difference between a block and its singles, relative to the largest
# value: float32 sums in another order.
BLOCK_TOLERANCE = 1e-4


class Report:
    """Prints and counts checks."""

    def __init__(self, verbose=True):
        self.passed, self.failed, self.verbose = 0, [], verbose

    def run(self, name, check, *arguments):
        """Runs one check; returns whether it passed."""
        try:
            figures = check(*arguments)
        except Exception as error:
            reason = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
            self.failed.append(name)
            self._print(f"FAIL {name}: {reason}")
            return False
        self.passed += 1
        self._print(f"PASS {name}")
        if figures:
            self._print(f"     {figures}")
        return True

    def _print(self, line):
        if self.verbose:
            print(line, flush=True)


class Subject:
    """A package with the range of layers that its name gives, and what the
    golden vectors say about them."""

    def __init__(self, package, name, config, golden):
        self.package, self.config, self.golden = package, config, golden
        found = re.search(r"_layers(\d+)_(\d+)_(\w+)\.mlpackage$", name)
        require(found, f"{name}: the name does not say layers and precision")
        self.start, self.end, self.precision = int(found[1]), int(found[2]), found[3]
        require(self.precision in THRESHOLDS, f"{name}: precision {self.precision!r}")

    def vectors(self, prompt, name):
        key = f"{prompt}.{name}"
        require(key in self.golden, f"the golden vectors have no {key}")
        return self.golden[key]

    def rows(self):
        """T of each function, by its name."""
        return {name: _shapes(function)["x"][2] for name, function in self.package.functions().items()}


def _shapes(function):
    return {v.name: form.tensor_type(v.type)[1] for v in function.inputs}


def check_contract(subject):
    """The functions' signatures are the shard contract at the config's dimensions."""
    config = subject.config
    functions = subject.package.functions()
    require("x" in _shapes(next(iter(functions.values()))), "there is no input x")
    rows = subject.rows()
    wanted_names = {"main"} if len(rows) == 1 else {f"t{t}" for t in rows.values()}
    require(set(rows) == wanted_names, f"functions {sorted(rows)}, want {sorted(wanted_names)}")
    for name, function in functions.items():
        t, slots = rows[name], _shapes(function).get("attn_mask", (0,))[-1]
        wanted = {
            "x": (1, config.hidden, t, 1),
            "rope_cos": (t, config.pairs),
            "rope_sin": (t, config.pairs),
            "attn_mask": (1, 1, t, slots),
            "kv_write_mask": (1, 1, slots, t),
        }
        for layer in range(subject.end - subject.start):
            for kind in "kv":
                wanted[f"layers_{layer}_{kind}_state"] = (1, config.kv_heads, slots, config.head_dim)
        require(_shapes(function) == wanted, f"{name}: inputs and states {_shapes(function)}, want {wanted}")
        outputs = list(form.block(function).outputs)
        require(outputs == ["hidden"], f"{name}: outputs {outputs}")
        uses = [op.type for op in form.block(function).operations]
        quantized, convs = uses.count("constexpr_blockwise_shift_scale"), uses.count("conv")
        require(convs > 0, f"{name}: no conv")
        wanted = convs if subject.precision == "int8" else 0
        require(quantized == wanted, f"{name}: {quantized} of {convs} convs are int8, want {wanted}")
    return ", ".join(f"{name}: T={t}" for name, t in sorted(rows.items()))


class Session:
    """One prompt through one function in blocks of so many live rows."""

    def __init__(self, subject, function, prompt, live):
        config, x = subject.config, subject.vectors(prompt, f"hidden{subject.start}")
        rows, slots = function.inputs["x"][2], function.inputs["attn_mask"][3]
        # Every slot holds something before the first pass, so that a value
        # that is seen too early or not replaced shows.
        shapes = sorted(function.states.items())
        self.seeds = {name: _seed(index, shape) for index, (name, shape) in enumerate(shapes)}
        self.states = {name: seed.copy() for name, seed in self.seeds.items()}
        hidden = []
        for position in range(0, len(x), live):
            block = x[position : position + live]
            out = function(host.host_inputs(config, block, position, rows, slots), self.states)
            hidden.extend(out["hidden"][0, :, : len(block), 0].T)
        self.x, self.hidden = x, np.array(hidden)


def _seed(index, shape):
    return np.random.default_rng(index).uniform(-2, 2, shape).astype(np.float32)


def cosines(a, b):
    """Cosine of each row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    require(np.all(norms > 0), "a row is all zero")
    return np.sum(a * b, axis=-1) / norms


def _least(figures, prompt, values):
    """Keeps the smallest value with its place; NaN is smaller than any."""
    values = np.where(np.isnan(values), -np.inf, values)
    at = np.unravel_index(np.argmin(values), values.shape)
    return min(figures, (float(values[at]), f"{prompt} {[int(i) for i in at]}"))


def check_hidden(subject, sessions):
    """Hidden states against the golden ones, per token."""
    least = least_residual = (np.inf, "")
    largest = 0.0
    for prompt, session in sessions.items():
        want = subject.vectors(prompt, f"hidden{subject.end}")
        require(session.hidden.shape == want.shape, f"{session.hidden.shape} hidden states, want {want.shape}")
        require(np.all(np.isfinite(session.hidden)), f"{prompt}: a hidden state is not finite")
        least = _least(least, prompt, cosines(session.hidden, want))
        least_residual = _least(least_residual, prompt, cosines(session.hidden - session.x, want - session.x))
        largest = max(largest, float(np.max(np.abs(session.hidden - want))))
    figures = (
        f"least cosine {least[0]:.9f} ({least[1]}), "
        f"of hidden - x {least_residual[0]:.9f} ({least_residual[1]}), max abs {largest:.3g}"
    )
    wanted = THRESHOLDS[subject.precision]
    require(least[0] >= wanted[0] and least_residual[0] >= wanted[1], f"{figures}; want {wanted}")
    return figures


def check_states(subject, sessions):
    """Keys and values against the golden ones, per head and token; slots that
    no token was written to keep their bits."""
    least, largest, compared = (np.inf, ""), 0.0, 0
    for prompt, session in sessions.items():
        for layer in range(subject.end - subject.start):
            for kind in "kv":
                name = f"layers_{layer}_{kind}_state"
                if f"{prompt}.{kind}{subject.start + layer}" not in subject.golden:
                    continue
                want = subject.vectors(prompt, f"{kind}{subject.start + layer}")
                tokens = want.shape[1]
                got = session.states[name][0]
                require(np.all(np.isfinite(got)), f"{prompt}: {name} is not finite")
                untouched = np.array_equal(got[:, tokens:], session.seeds[name][0][:, tokens:])
                require(untouched, f"{prompt}: {name}: a slot that no token owns changed")
                least = _least(least, f"{prompt} {name}", cosines(got[:, :tokens], want))
                largest = max(largest, float(np.max(np.abs(got[:, :tokens] - want))))
                compared += 1
    require(compared > 0, "no layer of the package has golden keys and values")
    figures = f"{compared} states, least cosine {least[0]:.9f} ({least[1]}), max abs {largest:.3g}"
    require(least[0] >= THRESHOLDS[subject.precision][0], f"{figures}; want {THRESHOLDS[subject.precision][0]}")
    return figures


def check_block(singles, blocks):
    """Blocks against single tokens: hidden states and every slot of every state."""
    worst = 0.0
    for prompt, single in singles.items():
        pairs = {"hidden": (blocks[prompt].hidden, single.hidden)}
        pairs.update((name, (blocks[prompt].states[name], state)) for name, state in single.states.items())
        for name, (got, want) in pairs.items():
            require(got.shape == want.shape, f"{prompt} {name}: {got.shape}, want {want.shape}")
            off = float(np.max(np.abs(got - want)) / np.max(np.abs(want)))
            # Written so that NaN fails.
            require(off <= BLOCK_TOLERANCE, f"{prompt} {name}: relative difference {off:.3g} above {BLOCK_TOLERANCE}")
            worst = max(worst, off)
    return f"largest relative difference {worst:.3g}"


def check_package(report, name, package, config, golden):
    """All checks of one package."""
    for title, check in (
        ("proto", form.check_proto),
        ("types", form.check_types),
        ("blobs", form.check_blobs),
        ("names", form.check_names),
        ("description", form.check_description),
    ):
        report.run(f"{name}: {title}", check, package)
    subjects = []
    report.run(f"{name}: subject", lambda: subjects.append(Subject(package, name, config, golden)))
    if not subjects or not report.run(f"{name}: contract", check_contract, subjects[0]):
        return
    (subject,) = subjects
    rows = {t: function for function, t in subject.rows().items()}
    runs = {}
    for t in sorted(rows):
        check_function(report, f"{name}: t{t}", subject, rows[t], t, runs)


def check_function(report, name, subject, function, t, runs):
    """Runs one function over all prompts; runs[t] keeps the results."""
    programs = []

    def play(live):
        return {prompt: Session(subject, programs[0], prompt, live) for prompt in PROMPTS}

    def execute():
        programs.append(Function(subject.package, function))
        runs[t] = play(t)

    if not report.run(f"{name}: execute", execute):
        return
    report.run(f"{name}: hidden", check_hidden, subject, runs[t])
    report.run(f"{name}: states", check_states, subject, runs[t])
    whole = runs.get(1, runs[t])
    for live in range(1, t):
        report.run(f"{name}: {live} live", lambda: check_block(whole, play(live)))
    if t > 1 and 1 in runs:
        report.run(f"{name}: against t1", check_block, runs[1], runs[t])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", required=True, help="golden vectors, safetensors")
    parser.add_argument("--config", required=True, help="the checkpoint's config.json")
    parser.add_argument("--self-test", action="store_true", help="plant faults in the first package, see each found")
    parser.add_argument("packages", nargs="+", metavar="PACKAGE")
    options = parser.parse_args()
    config, golden = host.Config(options.config), host.read_safetensors(options.golden)

    report = Report()
    for index, path in enumerate(options.packages):
        name = os.path.join(*os.path.normpath(path).split(os.sep)[-2:])
        loaded = []
        if report.run(f"{name}: load", lambda: loaded.append(Package(path))):
            check_package(report, name, loaded[0], config, golden)
            if options.self_test and index == 0:
                self_test(report, name, loaded[0], config, golden)
    print(f"{report.passed} passed, {len(report.failed)} failed")
    return 1 if report.failed or not report.passed else 0


def self_test(report, name, package, config, golden):
    """Each planted fault must fail the check that is there to find it."""

    def sees(wanted, faulty, faulty_config):
        inner = Report(verbose=False)
        check_package(inner, name, faulty, faulty_config, golden)
        failed = [check.removeprefix(f"{name}: ") for check in inner.failed]
        require(wanted in failed, f"want {wanted!r} to fail, failed: {failed}")
        return f"failed: {', '.join(failed)}"

    def in_model(fault):
        model = copy.deepcopy(package.model)
        model = fault.plant(model)
        require(model != package.model, "the fault changed nothing")
        return sees(fault.check, package.with_model(model), config)

    def in_host(fault):
        other = copy.deepcopy(config)
        fault.plant(other)
        return sees(fault.check, package, other)

    for fault in faults.faults(package.model):
        report.run(f"{name}: self-test: {fault.name}", in_model, fault)
    for fault in faults.host_faults(package.model):
        report.run(f"{name}: self-test: {fault.name}", in_host, fault)


if __name__ == "__main__":
    sys.exit(main())
