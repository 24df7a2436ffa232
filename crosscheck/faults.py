"""Faults to plant, each with the check that must find it.

A fault of a model works on a copy of the model in memory; nothing is written. Faults find
their place by operation and operand, not by the names an exporter chose.
"""

from collections import namedtuple

from package import block, is_state, tensor_type

# plant takes a model that it may change and returns the faulty one; a host
# fault's plant changes the Config that it is given.
Fault = namedtuple("Fault", "name check plant")


class Place:
    """The function of a model in which faults are planted."""

    def __init__(self, model):
        functions = model.mlProgram.functions
        self.name = sorted(functions)[-1]
        self.function = functions[self.name]
        self.operations = block(self.function).operations
        (self.rows,) = (tensor_type(v.type)[1][2] for v in self.function.inputs if v.name == "x")

    def index(self, wanted):
        """The index of the last operation for which wanted holds."""
        return [i for i, op in enumerate(self.operations) if wanted(op)][-1]

    def last(self, wanted):
        return self.operations[self.index(wanted)]

    def typed(self, op_type):
        return self.last(lambda op: op.type == op_type)

    def producer(self, name):
        return self.last(lambda op: any(o.name == name for o in op.outputs))

    def runtime(self, op, parameter):
        """Whether an argument is computed in each pass, neither literal nor const."""
        name = _argument(op, parameter)
        return bool(name) and (
            any(v.name == name for v in self.function.inputs) or self.producer(name).type != "const"
        )


def _argument(op, parameter):
    return op.inputs[parameter].arguments[0].name


def _bind(op, parameter, name):
    op.inputs[parameter].arguments[0].name = name


def _rename_uses(operations, old, new):
    for op in operations:
        for argument in op.inputs.values():
            for binding in argument.arguments:
                if binding.name == old:
                    binding.name = new


def _blob_values(operations):
    for op in operations:
        candidates = list(op.attributes.values())
        candidates += [b.value for a in op.inputs.values() for b in a.arguments if b.WhichOneof("binding") == "value"]
        yield from (v for v in candidates if v.WhichOneof("value") == "blobFileValue")


def unknown_field(model):
    return model.FromString(model.SerializeToString() + b"\xb8\x3e\x01")  # field 999, varint 1


def older_version(model):
    model.specificationVersion = 8
    return model


def undefined_name(model):
    _bind(Place(model).typed("softmax"), "x", "nowhere")
    return model


def name_of_another_function(model):
    """A loader with one name table over all functions takes this for defined."""
    place = Place(model)
    other = block(model.mlProgram.functions[sorted(model.mlProgram.functions)[0]]).operations
    there = [op for op in other if op.type == "softmax"][-1].outputs[0]
    _rename_uses(other, there.name, "only_there")
    there.name = "only_there"
    _rename_uses(place.operations, place.typed("softmax").outputs[0].name, "only_there")
    return model


def use_before_definition(model):
    place = Place(model)
    at = place.index(lambda op: op.type == "softmax")
    moved = type(place.operations[at])()
    moved.CopyFrom(place.operations[at])
    del place.operations[at]
    place.operations.append(moved)
    return model


def name_defined_twice(model):
    place = Place(model)
    place.typed("softmax").outputs[0].name = "x"
    return model


def blob_offset_of_the_data(model):
    next(_blob_values(Place(model).operations)).blobFileValue.offset += 64
    return model


def blob_of_another_size(model):
    values = list(_blob_values(Place(model).operations))
    first = values[0]
    other = next(v for v in values if tensor_type(v.type) != tensor_type(first.type))
    first.blobFileValue.offset = other.blobFileValue.offset
    return model


def weights_of_another_layer(model):
    values = list(_blob_values(Place(model).operations))
    last = values[-1]
    other = next(v for v in values if v.type == last.type and v.blobFileValue.offset != last.blobFileValue.offset)
    last.blobFileValue.offset = other.blobFileValue.offset
    return model


def literal_too_short(model):
    place = Place(model)
    shape = place.producer(_argument(place.typed("reshape"), "shape"))
    shape.attributes["val"].immediateValue.tensor.ints.values.pop()
    return model


def _description(model):
    """The features of the function in which faults are planted."""
    description = model.description
    return next((f for f in description.functions if f.name == Place(model).name), description)


def description_shape_swapped(model):
    shape = _description(model).input[0].type.multiArrayType.shape
    shape[:] = list(shape)[::-1]
    return model


def description_without_state(model):
    del _description(model).state[-1]
    return model


def description_of_another_type(model):
    array = _description(model).output[0].type.multiArrayType
    array.dataType = 65568  # FLOAT32
    return model


def declared_shape_wrong(model):
    conv = Place(model).typed("conv").outputs[0]
    conv.type.tensorType.dimensions[1].constant.size += 1
    return model


def state_renamed(model):
    """Consistently, in program and description: only the contract objects."""
    for function in model.mlProgram.functions.values():
        state = next(v for v in function.inputs if is_state(v))
        old, state.name = state.name, "cache"
        _rename_uses(block(function).operations, old, "cache")
    for described in list(model.description.functions) or [model.description]:
        described.state[0].name = "cache"
    return model


def operation_unknown_here(model):
    Place(model).typed("silu").type = "softplus"
    return model


def rotation_turned_back(model):
    place = Place(model)
    place.last(lambda op: op.type == "sub" and place.runtime(op, "x") and place.runtime(op, "y")).type = "add"
    return model


def mask_subtracted(model):
    place = Place(model)
    place.last(lambda op: op.type == "add" and "attn_mask" in (_argument(op, "x"), _argument(op, "y"))).type = "sub"
    return model


def gate_and_up_swapped(model):
    place = Place(model)
    silu = place.typed("silu")
    gate, act = _argument(silu, "x"), silu.outputs[0].name
    product = place.last(lambda op: op.type == "mul" and act in (_argument(op, "x"), _argument(op, "y")))
    other = "y" if _argument(product, "x") == act else "x"
    _bind(silu, "x", _argument(product, other))
    _bind(product, other, gate)
    return model


def residual_left_out(model):
    place = Place(model)
    out = place.producer(block(place.function).outputs[0])
    _bind(out, "x", _argument(out, "y"))
    return model


def write_left_out(model):
    place = Place(model)
    del place.operations[place.index(lambda op: op.type == "write_state")]
    return model


def keys_and_values_swapped(model):
    place = Place(model)
    k, v = [s.name for s in place.function.inputs if is_state(s)][:2]
    _rename_uses(place.operations, k, "swap")
    _rename_uses(place.operations, v, k)
    _rename_uses(place.operations, "swap", v)
    return model


def heads_before_tokens(model):
    """The attention output goes into the channels as [head, token, dim], which
    no single-token pass can tell."""
    place = Place(model)

    def gathers_heads(op):
        if op.type != "reshape" or tensor_type(op.outputs[0].type)[1][-1] != 1:
            return False
        return place.producer(_argument(op, "x")).type == "transpose"

    reshape = place.last(gathers_heads)
    _bind(reshape, "x", _argument(place.producer(_argument(reshape, "x")), "x"))
    return model


def faults(model):
    """The faults that apply to a model's functions."""
    t = f"t{Place(model).rows}"
    found = [
        Fault("a field that no message has", "proto", unknown_field),
        Fault("an older specification version", "proto", older_version),
        Fault("an undefined name", "names", undefined_name),
        Fault("an operation after its use", "names", use_before_definition),
        Fault("a name defined twice", "names", name_defined_twice),
        Fault("a blob offset that points at the data", "blobs", blob_offset_of_the_data),
        Fault("a blob of another size", "blobs", blob_of_another_size),
        Fault("a literal with an element too few", "blobs", literal_too_short),
        Fault("a shape swapped in the description", "description", description_shape_swapped),
        Fault("a state missing in the description", "description", description_without_state),
        Fault("another element type in the description", "description", description_of_another_type),
        Fault("a wrong declared shape", "types", declared_shape_wrong),
        Fault("a renamed state", "contract", state_renamed),
        Fault("an operation that is not known", f"{t}: execute", operation_unknown_here),
        Fault("weights of another layer", f"{t}: hidden", weights_of_another_layer),
        Fault("the rotation turned back", f"{t}: hidden", rotation_turned_back),
        Fault("the mask subtracted", f"{t}: hidden", mask_subtracted),
        Fault("gate and up swapped", f"{t}: hidden", gate_and_up_swapped),
        Fault("the residual left out", f"{t}: hidden", residual_left_out),
        Fault("a state that is not written", f"{t}: states", write_left_out),
        Fault("keys and values swapped", f"{t}: states", keys_and_values_swapped),
    ]
    if len(model.mlProgram.functions) > 1:
        found.append(Fault("a name of another function", "names", name_of_another_function))
        found.append(Fault("weights of another layer in one function", "blobs", weights_of_another_layer))
        found.append(Fault("weights of another layer, by the run", f"{t}: against t1", weights_of_another_layer))
    if Place(model).rows > 1:
        found.append(Fault("attention output as [head, token, dim]", f"{t}: hidden", heads_before_tokens))
    return found


def attention_factor_left_out(config):
    config.attention_factor = 1.0


def frequencies_reversed(config):
    config.inv_freq = config.inv_freq[::-1].copy()


def host_faults(model):
    """Faults of the host's RoPE rows: the golden vectors must tell them too."""
    t = f"t{Place(model).rows}"
    return [
        Fault("the attention factor left out by the host", f"{t}: hidden", attention_factor_left_out),
        Fault("frequencies in the opposite order", f"{t}: hidden", frequencies_reversed),
    ]
