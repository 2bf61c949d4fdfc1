"""Files to be graded, made from the table of mistakes, and right ones written unusually."""
import numpy as np

import autograder


def inputs_by_name(layer, arguments):
    """The arguments of a layer as float64, by name, as references and mistakes take them."""
    return {name: np.asarray(value, dtype=float)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
            for name, value in zip(layer.inputs, arguments)}


def right_functions(layer):
    """{name: function} of a layer, made from the reference."""
    return functions_with(layer, None)


def functions_with(layer, mistake):
    """{name: function} of a layer of the autograder in which one output is what a mistake computes.

    Mistakes are made in the dtype of the caller, as students make them: float32 overflows earlier.
    """
    def wrongly(function, output, right, arguments, **dout):
        if mistake is None or (mistake.function, mistake.output) != (function, output):
            return right
        inputs = {**dict(zip(layer.inputs, arguments)), **dout}
        return np.asarray(mistake.compute(**{k: v.copy() for k, v in inputs.items()}))

    def loss(*arguments):
        inputs, dtype = inputs_by_name(layer, arguments), arguments[0].dtype
        value = wrongly(layer.name, "loss", layer.reference(**inputs), arguments)
        dx = wrongly(layer.name, "dx", layer.gradients(**inputs)["dx"], arguments)
        return float(value), dx.astype(dtype)

    def forward(*arguments):
        inputs = inputs_by_name(layer, arguments)
        dtype = next(a.dtype for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f")
        out = wrongly(forward_name, "out", layer.reference(**inputs), arguments)
        return out.astype(dtype), arguments

    def backward(dout, cache):
        right = layer.gradients(**inputs_by_name(layer, cache), dout=dout.astype(float))
        gradients = tuple(wrongly(backward_name, name, right[name], cache, dout=dout)
                          .astype(dout.dtype) for name in layer.gradient_names)
        return gradients if len(gradients) > 1 else gradients[0]

    if layer.is_loss:
        return {layer.name: loss}
    forward_name, backward_name = layer.functions
    return {forward_name: forward, backward_name: backward}


def rule_with(rule, mistake):
    """{name: function} of an update rule that makes a mistake, and keeps its gradients in config."""
    def step(w, dw, config):
        config = {"first": w, "dws": [], "rate": config["learning_rate"], **config}
        config["dws"] = [*config["dws"], dw]
        given = {k: v for k, v in config.items() if k not in ("first", "dws", "rate")}
        steps_before = max(1, len(config["dws"]) - 1)
        given["lr_decay"] = (given["learning_rate"] / config["rate"]) ** (1 / steps_before)
        given["learning_rate"] = config["rate"]
        compute = mistake.compute if mistake else rule.references[0]
        path = compute(w=np.asarray(config["first"], float), dws=np.array(config["dws"], float),
                       config=given)
        return path[-1].astype(w.dtype), config

    return {rule.name: step}


def model_with(model, mistake):
    """{name: class} of a model that makes a mistake, or of a right one."""
    def wrongly(output, right, inputs):
        return right if mistake is None or mistake.output != output else mistake.compute(**inputs)

    class Mistaken:
        def __init__(self, *, dtype, reg=0.0, **constructor):
            self.reg, self.dtype = reg, dtype
            self.params = parameters_of(model, constructor, dtype)
            self.null = constructor.get("word_to_idx", {}).get("<NULL>")

        def loss(self, *data):
            params = {name: value.astype(float) for name, value in self.params.items()}
            data = [value.astype(float) if value.dtype.kind == "f" else value for value in data]
            if len(data) == 1:
                return model.scores(X=data[0], **params).astype(self.dtype)
            inputs = {**dict(zip(model.data, data)), "reg": self.reg, **params}
            inputs |= {} if self.null is None else {"null": self.null}
            grads = {name: wrongly(f"d{name}", autograder.gradient_of(model.loss, name, **inputs),
                                   inputs).astype(self.dtype) for name in self.params}
            return wrongly("loss", model.loss(**inputs), inputs), grads

    return {model.name: Mistaken}


def parameters_of(model, sizes, dtype):
    """Random numbers of the shapes in the contract."""
    if model.name == "TwoLayerNet":
        D, H, C = sizes["input_dim"], sizes["hidden_dim"], sizes["num_classes"]
        shapes = {"W1": (D, H), "b1": (H,), "W2": (H, C), "b2": (C,)}
    elif model.name == "ConvNet":
        (C, height, width), F = sizes["input_dim"], sizes["num_filters"]
        k, H, M = sizes["filter_size"], sizes["hidden_dim"], sizes["num_classes"]
        features = F * ((height - k + 1) // 2) * ((width - k + 1) // 2)
        shapes = {"W1": (F, C, k, k), "W2": (features, H), "b2": (H,), "W3": (H, M), "b3": (M,)}
    else:
        D, W, H = sizes["input_dim"], sizes["wordvec_dim"], sizes["hidden_dim"]
        V = len(sizes["word_to_idx"])
        shapes = {"W_proj": (D, H), "b_proj": (H,), "W_embed": (V, W), "Wx": (W, H), "Wh": (H, H),
                  "b": (H,), "W_vocab": (H, V), "b_vocab": (V,)}
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def subject_with(name, mistake):
    """{name: function} of any subject of the autograder, with a mistake or None."""
    subject = autograder.SUBJECTS[name]
    make = functions_with if name in autograder.LAYERS else \
        rule_with if name in autograder.RULES else model_with
    return make(subject, mistake)


def subject_of(function):
    """The subject that a function of the contract belongs to."""
    return next(s for s in autograder.SUBJECTS.values() if function in s.functions)
