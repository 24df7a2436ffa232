"""A package as Apple's library reads it, and the checks of its form.

Each check takes a Package, returns a line of figures (or None), and raises
Failed, or whatever Apple's code raises, when the package is wrong.
"""

import os

import numpy as np
from coremltools import proto
from coremltools.converters.mil.frontend.milproto import load as milproto
from coremltools.libmilstoragepython import _BlobStorageReader as BlobReader
from coremltools.libmodelpackage import ModelPackage
from google.protobuf import unknown_fields
from google.protobuf.message import Message

MIL = proto.MIL_pb2
ARRAY = proto.FeatureTypes_pb2.ArrayFeatureType

SPEC_VERSION = 9
OPSET = "CoreML8"
WEIGHT_FILE = "@model_path/weights/weight.bin"

# MIL element types that a package of lockstep stores: numpy type, array type of
# the description (None: not allowed there), Apple's reader method.
DTYPES = {
    MIL.FLOAT16: (np.float16, ARRAY.FLOAT16, "read_fp16_data"),
    MIL.FLOAT32: (np.float32, ARRAY.FLOAT32, "read_float_data"),
    MIL.INT8: (np.int8, None, "read_int8_data"),
    MIL.UINT8: (np.uint8, None, "read_uint8_data"),
    MIL.INT32: (np.int32, ARRAY.INT32, "read_int32_data"),
    MIL.BOOL: (np.bool_, None, None),
    MIL.STRING: (np.str_, None, None),
}


class Failed(Exception):
    """A check found the package wrong."""


def require(condition, message):
    if not condition:
        raise Failed(message)


class Package:
    """A package directory: the parsed model and Apple's blob reader."""

    def __init__(self, directory):
        if not ModelPackage.isValid(directory):
            raise Failed("Apple's package reader refuses the directory")
        path = ModelPackage(directory).getRootModel().path()
        with open(path, "rb") as file:
            self.model = proto.Model_pb2.Model.FromString(file.read())
        self.weights_dir = os.path.join(os.path.dirname(path), "weights")
        weights = os.path.join(self.weights_dir, "weight.bin")
        self.reader = BlobReader(weights) if os.path.exists(weights) else None

    def with_model(self, model):
        """The same package with another model in place of its own."""
        other = object.__new__(Package)
        other.model, other.weights_dir, other.reader = model, self.weights_dir, self.reader
        return other

    def functions(self):
        """The program's functions by name, in the order of their names."""
        functions = self.model.mlProgram.functions
        return {name: functions[name] for name in sorted(functions)}

    def value(self, value):
        """A literal as a numpy array of its declared type and shape."""
        dtype, shape = tensor_type(value.type)
        numpy_type = DTYPES[dtype][0]
        if value.WhichOneof("value") == "blobFileValue":
            flat = self.blob(value.blobFileValue, dtype)
        else:
            tensor = value.immediateValue.tensor
            field = tensor.WhichOneof("value")
            if field == "bytes":
                flat = np.frombuffer(tensor.bytes.values, np.dtype(numpy_type).newbyteorder("<"))
            else:
                flat = np.array(list(getattr(tensor, field).values), numpy_type)
        require(flat.size == np.prod(shape, dtype=int), f"a literal of shape {shape} holds {flat.size} elements")
        return flat.reshape(shape)

    def blob(self, reference, dtype):
        """A blob's elements, through Apple's reader."""
        require(reference.fileName == WEIGHT_FILE, f"blob file is {reference.fileName!r}")
        require(self.reader is not None, "there is no weight.bin")
        method = DTYPES[dtype][2]
        require(method is not None, f"type {MIL.DataType.Name(dtype)} has no blob form")
        flat = getattr(self.reader, method)(reference.offset)
        return flat.view(np.float16) if dtype == MIL.FLOAT16 else flat


def tensor_type(value_type):
    """(element type, shape) of a tensor or of what a state wraps."""
    if value_type.WhichOneof("type") == "stateType":
        value_type = value_type.stateType.wrappedType
    tensor = value_type.tensorType
    require(tensor.rank == len(tensor.dimensions), f"rank {tensor.rank} with {len(tensor.dimensions)} dimensions")
    for dimension in tensor.dimensions:
        require(dimension.WhichOneof("dimension") == "constant", "a dimension is not constant")
    require(tensor.dataType in DTYPES, f"element type {MIL.DataType.Name(tensor.dataType)} is not expected")
    return tensor.dataType, tuple(d.constant.size for d in tensor.dimensions)


def is_state(named):
    return named.type.WhichOneof("type") == "stateType"


def block(function):
    return function.block_specializations[function.opset]


def literals(operation):
    """Every literal of an operation with its place: val, or a parameter."""
    for name, value in operation.attributes.items():
        yield name, value
    for name, argument in operation.inputs.items():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "value":
                yield name, binding.value


def check_proto(package):
    """Apple's message classes know every field, and the versions are right."""
    model = package.model
    count = _refuse_unknown_fields(model, "Model")
    require(model.specificationVersion == SPEC_VERSION, f"specification version {model.specificationVersion}")
    require(model.WhichOneof("Type") == "mlProgram", f"model type {model.WhichOneof('Type')}")
    require(model.mlProgram.version == 1, f"program version {model.mlProgram.version}")
    require(len(model.mlProgram.functions) > 0, "the program has no function")
    for name, function in package.functions().items():
        require(function.opset == OPSET, f"{name}: opset {function.opset!r}")
        blocks = list(function.block_specializations)
        require(blocks == [OPSET], f"{name}: blocks {blocks}")
    return f"{count} messages"


def _refuse_unknown_fields(message, path):
    unknown = [field.field_number for field in unknown_fields.UnknownFieldSet(message)]
    require(not unknown, f"{path}: unknown fields {unknown}")
    count = 1
    for field, value in message.ListFields():
        if isinstance(value, Message):
            children = {"": value}
        elif field.type != field.TYPE_MESSAGE:
            continue
        elif hasattr(value, "items"):
            children = {f"[{key!r}]": child for key, child in value.items()}
        else:
            children = {f"[{i}]": child for i, child in enumerate(value)}
        for key, child in children.items():
            if isinstance(child, Message):
                count += _refuse_unknown_fields(child, f"{path}.{field.name}{key}")
    return count


def check_types(package):
    """milproto infers every operation's type as declared, function by function.

    Its loader keeps one name table over all functions, so each function is
    loaded in a program of its own.
    """
    counts = []
    for name, function in package.functions().items():
        alone = proto.Model_pb2.Model()
        alone.CopyFrom(package.model)
        for other in list(alone.mlProgram.functions):
            if other != name:
                del alone.mlProgram.functions[other]
        try:
            program = milproto.load(alone, SPEC_VERSION, package.weights_dir)
        except Exception as error:
            raise Failed(f"{name}: {type(error).__name__}: {error}") from error
        require(list(program.functions) == [name], f"{name}: loaded as {list(program.functions)}")
        counts.append(f"{name} {len(block(function).operations)} operations")
    return ", ".join(counts)


def check_blobs(package):
    """Apple's reader finds each referenced blob with the declared type and
    length, and all functions refer to the same blobs."""
    offsets = {}
    for name, function in package.functions().items():
        offsets[name] = set()
        for operation in block(function).operations:
            for parameter, value in literals(operation):
                place = f"{name}: {operation.type} {_label(operation)}: {parameter}"
                try:
                    package.value(value)
                except Exception as error:
                    raise Failed(f"{place}: {error}") from error
                if value.WhichOneof("value") == "blobFileValue":
                    offsets[name].add(value.blobFileValue.offset)
    sets = list(offsets.values())
    require(all(s == sets[0] for s in sets), f"the functions do not share their blobs: {_differences(offsets)}")
    require(sets[0], "no weight is stored as a blob")
    return f"{len(sets[0])} blobs"


def _differences(offsets):
    shared = set.intersection(*offsets.values())
    return {name: sorted(found - shared) for name, found in offsets.items()}


def _label(operation):
    if operation.outputs:
        return operation.outputs[0].name
    return operation.attributes["name"].immediateValue.tensor.strings.values[0]


def check_names(package):
    """Names are defined before use and once, within each function alone."""
    for name, function in package.functions().items():
        defined = set()

        def define(value, place):
            require(value not in defined, f"{name}: {place}: {value!r} is defined twice")
            defined.add(value)

        for named in function.inputs:
            define(named.name, "inputs")
        for operation in block(function).operations:
            require("name" in operation.attributes, f"{name}: a {operation.type} has no name")
            require(not operation.blocks, f"{name}: {_label(operation)} has blocks")
            for parameter, argument in operation.inputs.items():
                for binding in argument.arguments:
                    used = binding.name if binding.WhichOneof("binding") == "name" else None
                    place = f"{name}: {operation.type} {_label(operation)}: {parameter}"
                    require(used is None or used in defined, f"{place}: {used!r} is not defined before")
            for output in operation.outputs:
                define(output.name, operation.type)
        require(len(block(function).outputs) > 0, f"{name}: no outputs")
        for output in block(function).outputs:
            require(output in defined, f"{name}: output {output!r} is not defined")


def check_description(package):
    """The description says what the program's signatures say."""
    description = package.model.description
    functions = package.functions()
    if description.functions:
        top = (description.input, description.output, description.state)
        require(not any(top), "features stand beside functions at the top of the description")
        described = {f.name: f for f in description.functions}
        require(len(described) == len(description.functions), "a function is described twice")
        require(description.defaultFunctionName in described, f"default function {description.defaultFunctionName!r}")
    else:
        require(not description.defaultFunctionName, "a default function without functions")
        described = {"main": description}
    require(set(described) == set(functions), f"described {sorted(described)}, in the program {sorted(functions)}")
    for name, function in functions.items():
        _compare(f"{name} inputs", described[name].input, [v for v in function.inputs if not is_state(v)], False)
        _compare(f"{name} states", described[name].state, [v for v in function.inputs if is_state(v)], True)
        produced = {o.name: o for operation in block(function).operations for o in operation.outputs}
        outputs = block(function).outputs
        missing = [o for o in outputs if o not in produced]
        require(not missing, f"{name}: no operation gives {missing}")
        _compare(f"{name} outputs", described[name].output, [produced[o] for o in outputs], False)
    states = {name: [(v.name, tensor_type(v.type)) for v in f.inputs if is_state(v)] for name, f in functions.items()}
    first = next(iter(states.values()))
    require(all(s == first for s in states.values()), "the functions do not declare the same states")


def _compare(place, features, values, state):
    found, wanted = [], []
    for feature in features:
        kind = feature.type.WhichOneof("Type")
        require(kind == ("stateType" if state else "multiArrayType"), f"{place}: {feature.name} is a {kind}")
        array = feature.type.stateType.arrayType if state else feature.type.multiArrayType
        require(array.WhichOneof("ShapeFlexibility") is None, f"{place}: {feature.name} has a flexible shape")
        found.append((feature.name, array.dataType, tuple(array.shape)))
    for value in values:
        dtype, shape = tensor_type(value.type)
        wanted.append((value.name, DTYPES[dtype][1], shape))
    require(found == wanted, f"{place}: described as {found}, in the program {wanted}")
