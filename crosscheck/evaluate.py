"""A small evaluator of MIL functions: float32, one Python function per op type.

It follows the meaning of each operation in Apple's documentation of MIL, walks
the protobuf program as loaded, and checks each result against the shape that
the program declares. An operation or a form of it that is not written here is
an error, never a guess.
"""

import numpy as np

from package import MIL, Failed, block, is_state, require, tensor_type


class Arguments:
    """The arguments of one operation, as arrays (or strings) by parameter."""

    def __init__(self, values):
        self._values = values
        self._used = set()

    def __call__(self, name):
        require(name in self._values, f"parameter {name!r} is missing")
        (value,) = self.all(name)
        return value

    def get(self, name, default):
        return self(name) if name in self._values else default

    def all(self, name):
        self._used.add(name)
        return self._values[name]

    def integers(self, name, default=None):
        value = self.get(name, default)
        return value if value is None else [int(v) for v in np.ravel(value)]

    def integer(self, name, default=None):
        (value,) = self.integers(name, default)
        return value

    def refuse_unused(self):
        unused = set(self._values) - self._used
        require(not unused, f"parameters {sorted(unused)} have no meaning here")


def conv(a):
    x, weight = a("x"), a("weight")
    steps = a.integers("strides", [1, 1]) + a.integers("dilations", [1, 1])
    require(steps == [1] * 4, "conv with steps")
    require(a.integer("groups", 1) == 1 and a.get("pad_type", "valid") == "valid", "conv with groups or padding")
    require(a.integers("pad", [0] * 4) == [0] * 4, "conv with padding")
    outputs, inputs, height, width = weight.shape
    fits = (height, width) == (1, 1) and x.shape[:2] == (1, inputs)
    require(fits, f"conv of {x.shape} by {weight.shape}")
    y = weight.reshape(outputs, inputs) @ x.reshape(inputs, -1)
    return y.reshape((1, outputs) + x.shape[2:])


def constexpr_blockwise_shift_scale(a):
    data, scale, offset = a("data"), a("scale"), a.get("offset", None)
    require(data.ndim == scale.ndim, f"data {data.shape} and scale {scale.shape}")

    def spread(values):
        for axis, (size, blocks) in enumerate(zip(data.shape, values.shape)):
            require(size % blocks == 0, f"data {data.shape} and scale {values.shape}")
            values = np.repeat(values, size // blocks, axis)
        return values

    centred = data if offset is None else data - spread(offset)
    return spread(scale) * centred


def matmul(a):
    x, y = a("x"), a("y")
    if a.get("transpose_x", False):
        x = x.swapaxes(-1, -2)
    if a.get("transpose_y", False):
        y = y.swapaxes(-1, -2)
    return x @ y


def reshape(a):
    x = a("x")
    shape = a.integers("shape")
    if 0 in shape:
        require(len(shape) == x.ndim, f"reshape of {x.shape} to {shape}")
        shape = [size or x.shape[i] for i, size in enumerate(shape)]
    return x.reshape(shape)


def transpose(a):
    return a("x").transpose(a.integers("perm"))


def expand_dims(a):
    return np.expand_dims(a("x"), tuple(a.integers("axes")))


def squeeze(a):
    axes = a.integers("axes")
    return np.squeeze(a("x"), None if axes is None else tuple(axes))


def split(a):
    x, axis = a("x"), a.integer("axis")
    sizes, count = a.integers("split_sizes"), a.integers("num_splits")
    if sizes is None:
        return np.split(x, count[0], axis)
    require(count is None or count[0] == len(sizes), f"{count} splits of sizes {sizes}")
    require(sum(sizes) == x.shape[axis], f"split of {x.shape} into {sizes}")
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def slice_by_index(a):
    x, begin, end = a("x"), a.integers("begin"), a.integers("end")
    stride = a.integers("stride", [1] * x.ndim)
    no_begin, no_end, squeezed = (
        [bool(v) for v in np.ravel(a.get(name, [False] * x.ndim))]
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    )
    cuts = []
    for i in range(x.ndim):
        if squeezed[i]:
            cuts.append(begin[i])
        else:
            cuts.append(slice(None if no_begin[i] else begin[i], None if no_end[i] else end[i], stride[i]))
    return x[tuple(cuts)]


def concat(a):
    require(not a.get("interleave", False), "interleaved concat")
    return np.concatenate(a.all("values"), a.integer("axis"))


def add(a):
    return a("x") + a("y")


def sub(a):
    return a("x") - a("y")


def mul(a):
    return a("x") * a("y")


def real_div(a):
    return a("x") / a("y")


def maximum(a):
    return np.maximum(a("x"), a("y"))


def minimum(a):
    return np.minimum(a("x"), a("y"))


def absolute(a):
    return np.abs(a("x"))


def square(a):
    return np.square(a("x"))


def sqrt(a):
    return np.sqrt(a("x"))


def rsqrt(a):
    return 1 / np.sqrt(a("x") + a.get("epsilon", np.float32(1e-12)))


def sigmoid(a):
    return 1 / (1 + np.exp(-a("x")))


def silu(a):
    x = a("x")
    return x / (1 + np.exp(-x))


def softmax(a):
    x, axis = a("x"), a.integer("axis", -1)
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _reduce(a, function):
    axes = a.integers("axes")
    return function(a("x"), axis=None if axes is None else tuple(axes), keepdims=bool(a.get("keep_dims", False)))


def reduce_sum(a):
    return _reduce(a, np.sum)


def reduce_mean(a):
    return _reduce(a, np.mean)


def reduce_max(a):
    return _reduce(a, np.max)


def layer_norm(a):
    x, axes = a("x"), tuple(a.integers("axes"))
    c = x - x.mean(axes, keepdims=True)
    y = c / np.sqrt(np.square(c).mean(axes, keepdims=True) + a.get("epsilon", np.float32(1e-5)))
    shape = [size if i in axes or i - x.ndim in axes else 1 for i, size in enumerate(x.shape)]
    gamma, beta = a.get("gamma", None), a.get("beta", None)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


OPS = {
    "abs": absolute,
    "add": add,
    "concat": concat,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "conv": conv,
    "expand_dims": expand_dims,
    "layer_norm": layer_norm,
    "matmul": matmul,
    "maximum": maximum,
    "minimum": minimum,
    "mul": mul,
    "real_div": real_div,
    "reduce_max": reduce_max,
    "reduce_mean": reduce_mean,
    "reduce_sum": reduce_sum,
    "reshape": reshape,
    "rsqrt": rsqrt,
    "sigmoid": sigmoid,
    "silu": silu,
    "slice_by_index": slice_by_index,
    "softmax": softmax,
    "split": split,
    "sqrt": sqrt,
    "square": square,
    "squeeze": squeeze,
    "sub": sub,
    "transpose": transpose,
}


class Function:
    """One function of a package, its literals decoded once."""

    def __init__(self, package, name):
        self.name = name
        self.function = package.functions()[name]
        self.inputs = {v.name: tensor_type(v.type)[1] for v in self.function.inputs if not is_state(v)}
        self.states = {v.name: tensor_type(v.type)[1] for v in self.function.inputs if is_state(v)}
        self.outputs = list(block(self.function).outputs)
        self._literals = {}  # by operation index: its arguments that are literals
        self._constants = {}  # by value name: const and constexpr results
        self._steps = []  # operations that run on every pass
        for operation in block(self.function).operations:
            self._prepare(package, operation)

    def _prepare(self, package, operation):
        if operation.type == "const":
            self._keep(operation, [_plain(package.value(operation.attributes["val"]))])
            return
        arguments = {}  # a list of bindings each: (name, None) or (None, value)
        for parameter, argument in operation.inputs.items():
            arguments[parameter] = [
                (binding.name, None)
                if binding.WhichOneof("binding") == "name"
                else (None, _plain(package.value(binding.value)))
                for binding in argument.arguments
            ]
        if operation.type.startswith("constexpr_"):
            self._keep(operation, self._evaluate(operation, arguments, {}))
            return
        self._steps.append((operation, arguments))

    def _keep(self, operation, results):
        for output, result in zip(operation.outputs, results, strict=True):
            self._constants[output.name] = result

    def __call__(self, inputs, states):
        """One pass. states, float32 arrays by name, change in place."""
        require(set(inputs) == set(self.inputs), f"{self.name}: inputs {sorted(self.inputs)}")
        for name, shape in self.inputs.items():
            require(inputs[name].shape == shape, f"{self.name}: {name} is {shape}, given {inputs[name].shape}")
        values = dict(inputs)
        for operation, arguments in self._steps:
            if operation.type == "read_state":
                (output,) = operation.outputs
                values[output.name] = states[self._state(operation, arguments)].copy()
                self._check_shape(operation, output, values[output.name])
            elif operation.type == "write_state":
                self._write(operation, arguments, values, states)
            else:
                results = self._evaluate(operation, arguments, values)
                values.update((o.name, r) for o, r in zip(operation.outputs, results, strict=True))
        return {name: values[name] for name in self.outputs}

    def _state(self, operation, arguments):
        ((name, _),) = arguments["input"]
        require(name in self.states, f"{self.name}: {operation.type} of {name!r}, which is no state")
        return name

    def _write(self, operation, arguments, values, states):
        state = self._state(operation, arguments)
        (data,) = self._values(arguments["data"], values)
        require(data.shape == self.states[state], f"{self.name}: {data.shape} written to {state}")
        states[state] = data.copy()

    def _values(self, bindings, values):
        found = []
        for name, value in bindings:
            if name is not None:
                value = values[name] if name in values else self._constants[name]
            found.append(value)
        return found

    def _evaluate(self, operation, arguments, values):
        place = f"{self.name}: {operation.type} {operation.outputs[0].name}"
        require(operation.type in OPS, f"{place}: an operation that is not known here")
        given = Arguments({p: self._values(bindings, values) for p, bindings in arguments.items()})
        try:
            results = OPS[operation.type](given)
            given.refuse_unused()
        except Exception as error:
            raise Failed(f"{place}: {error}") from error
        results = results if isinstance(results, list) else [results]
        require(len(results) == len(operation.outputs), f"{place}: {len(results)} results")
        for output, result in zip(operation.outputs, results):
            self._check_shape(operation, output, result)
        return results

    def _check_shape(self, operation, output, result):
        dtype, shape = tensor_type(output.type)
        place = f"{self.name}: {operation.type} {output.name}"
        require(result.shape == shape, f"{place} is {result.shape}, declared {shape}")
        require(dtype in (MIL.FLOAT16, MIL.FLOAT32), f"{place} is declared as {MIL.DataType.Name(dtype)}")


def _plain(array):
    """float32 for numbers with a fraction and for int8 data; others as stored."""
    if array.dtype.kind == "U":
        return str(array.reshape(())) if array.ndim == 0 else array
    if array.dtype in (np.float16, np.float32, np.int8, np.uint8):
        return array.astype(np.float32)
    return array
