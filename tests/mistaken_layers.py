"""Functions to be graded, made from the table of mistakes: right but for one slip."""
import numpy as np

from grading import answers, references
from grading.mistakes import gradient_of

SUBJECTS = answers.SUBJECTS


def subject_of(function):
    """The layer, rule or model that a function of the contract belongs to."""
    return next(s for s in SUBJECTS.values() if function in {f.name for f in s.functions})


def subject_with(name, mistake):
    """{name: function} of a layer, rule or model that makes a mistake, or of a right one (None)."""
    subject = SUBJECTS[name]
    make = functions_with if isinstance(subject, answers.Layer) else \
        rule_with if isinstance(subject, answers.Rule) else model_with
    return make(subject, mistake)


def is_float(value):
    """Whether this is an array of floating-point numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def in_float64(names, values):
    """{name: value} with floating-point arrays as float64, as references take them."""
    return {name: value.astype(float) if is_float(value) else value
            for name, value in zip(names, values)}


def with_slip(mistake, function, right, inputs):
    """The outputs {name: array} of a function: the right ones, but for what a mistake puts out.

    Mistakes are made in the dtype of the caller, as students make them: float32 overflows earlier.
    """
    if mistake is None or mistake.function != function:
        return right
    copies = {name: value.copy() if hasattr(value, "copy") else value
              for name, value in inputs.items()}
    found = mistake.compute(**copies)
    if not isinstance(found, dict):
        found = dict.fromkeys(mistake.outputs, found)
    return {**right, **{name: np.asarray(found[name]) for name in mistake.outputs if name in right}}


def functions_with(layer, mistake):
    """{name: function} of a layer."""
    forward_name, *backward_name = (function.name for function in layer.functions)
    gradients_of = getattr(references, f"{layer.name}_gradients")

    def loss(*arguments):
        inputs, dtype = in_float64(layer.inputs, arguments), arguments[0].dtype
        right = {"loss": layer.reference(**inputs), **gradients_of(**inputs)}
        found = with_slip(mistake, layer.name, right, dict(zip(layer.inputs, arguments)))
        return float(found["loss"]), found["dx"].astype(dtype)

    def forward(*arguments):
        dtype = next(value.dtype for value in arguments if is_float(value))
        inputs = in_float64(layer.inputs, arguments)
        if layer.name == "fc":
            inputs["x"] = references.rows(inputs["x"])
        right = dict(zip(layer.outputs, layer.results(**inputs)))
        found = with_slip(mistake, forward_name, right, dict(zip(layer.inputs, arguments)))
        cache = arguments if len(arguments) > 1 else arguments[0]
        return *(found[name].astype(dtype) for name in layer.outputs), cache

    def backward(*douts_and_cache):
        *douts, cache = douts_and_cache
        arguments = cache if isinstance(cache, tuple) else (cache,)
        exact = [dout.astype(float) for dout in douts]
        right = gradients_of(**in_float64(layer.inputs, arguments), dout=one_or_all(exact))
        found = with_slip(mistake, *backward_name, right,
                          {**dict(zip(layer.inputs, arguments)), "dout": one_or_all(douts)})
        return one_or_all([found[name].astype(douts[0].dtype) for name in layer.gradients])

    if layer.is_loss:
        return {layer.name: loss}
    return {forward_name: forward, backward_name[0]: backward}


def one_or_all(values):
    """A tuple of the values, or the only one."""
    return tuple(values) if len(values) > 1 else values[0]


def rule_with(rule, mistake):
    """{name: function} of an update rule, which keeps its gradients in config."""
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
    """{name: class} of a model."""
    class Mistaken:
        def __init__(self, *, dtype, reg=0.0, **constructor):
            self.reg, self.dtype = reg, dtype
            self.params = parameters_of(model, constructor, dtype)
            self.null = constructor.get("word_to_idx", {}).get("<NULL>")

        def loss(self, *data):
            params = {name: value.astype(float) for name, value in self.params.items()}
            inputs = {**in_float64(model.data, data), **params}
            if len(data) == 1:
                return model.scores(**inputs).astype(self.dtype)
            inputs |= {"reg": self.reg} | ({} if self.null is None else {"null": self.null})
            right = {"loss": model.loss(**inputs)} | {
                f"d{name}": gradient_of(model.loss, name, **inputs) for name in self.params}
            found = with_slip(mistake, model.name, right, inputs)
            grads = {name: found[f"d{name}"].astype(self.dtype) for name in self.params}
            return found["loss"], grads

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
