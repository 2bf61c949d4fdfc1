"""Which functions each course asks for: a table. A further course is another table.

What is right for a function, and what known slips give, belongs to a subject of answers.py. Courses
share subjects: affine_forward of the one is fc_forward of the other, and the same answers serve
both. What a course does in another order of axes, or leaves in a dict, its table says.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Function:
    """A function or class that a course asks for."""
    name: str
    file: str                       # "layers", "rnn_layers", ...
    kind: str                       # "forward", "backward", "loss", "rule", "model"
    arguments: tuple                # of a model: those of its method loss
    outputs: tuple                  # "out"; "dx", "dw"; of a model also those of Case.truth
    forward: str = None             # of a backward pass: the name of its forward pass
    section: str = None             # of docs/derivations.md
    subject: str = None             # what has its answers; by default its own name
    known_as: str = None            # its name in the table of mistakes; by default from the subject
    state: tuple = ()               # (argument, keys...): outputs that it leaves in a dict
    turned: tuple = ()              # arrays whose first two axes are the other way round there

    def __post_init__(self):
        subject = self.subject or self.name.removesuffix("_forward").removesuffix("_backward")
        is_pass = self.kind in ("forward", "backward")
        object.__setattr__(self, "subject", subject)
        object.__setattr__(self, "known_as", self.known_as or
                           (f"{subject}_{self.kind}" if is_pass else subject))

    @property
    def results(self):
        """The outputs, returned or left in a dict."""
        return self.outputs + self.state[1:]


@dataclasses.dataclass(frozen=True)
class Course:
    """A course and what it asks for."""
    title: str
    functions: dict                 # name -> Function
    words: tuple = ()               # (ours, theirs): what sentences on the answers are to say


def course(title, *functions, words=()):
    """A Course from its Functions."""
    return Course(title, {function.name: function for function in functions}, words)


def pair(layer, file, section, inputs, gradients, outputs="out", douts="dout", *, naive="",
         state="", **options):
    """The forward and the backward pass of a layer; lists of names are words of a string."""
    forward = f"{layer}_forward{naive}"
    return (Function(forward, file, "forward", tuple(inputs.split()), tuple(outputs.split()),
                     section=section, state=tuple(state.split()), **options),
            Function(f"{layer}_backward{naive}", file, "backward", (*douts.split(), "cache"),
                     tuple(gradients.split()), forward, section, **options))


def loss(name, file, section, inputs):
    """A loss, which returns its gradient as well."""
    return Function(name, file, "loss", tuple(inputs.split()), ("loss", "dx"), section=section)


def rule(name, **options):
    """An update rule."""
    return Function(name, "optim", "rule", ("w", "dw", "config"), ("w",), **options)


def model(name, file, data):
    """A model."""
    return Function(name, file, "model", tuple(data.split()), ("loss",))


FC = "Fully connected layer"
STEP = "x prev_h Wx Wh b", "dx dprev_h dWx dWh db", "next_h", "dnext_h"
SENTENCE = "x h0 Wx Wh b", "dx dh0 dWx dWh db", "h", "dh"
LSTM_STEP = ("x prev_h prev_c Wx Wh b", "dx dprev_h dprev_c dWx dWh db", "next_h next_c",
             "dnext_h dnext_c")
RULES = "sgd", "sgd_momentum", "rmsprop", "adam"

EECS545 = course(
    "EECS 545",
    *pair("fc", "layers", FC, "x w b", "dx dw db"),
    *pair("relu", "layers", "ReLU", "x", "dx"),
    *pair("conv", "layers", "Convolution", "x w", "dx dw"),
    *pair("max_pool", "layers", "Max pooling", "x pool_param", "dx"),
    loss("softmax_loss", "layers", "Softmax and cross-entropy", "x y"),
    *pair("rnn_step", "rnn_layers", "Recurrent network", *STEP),
    *pair("rnn", "rnn_layers", "Back-propagation through time", *SENTENCE),
    *pair("lstm_step", "rnn_layers", "LSTM", *LSTM_STEP),
    *pair("lstm", "rnn_layers", "LSTM", *SENTENCE),
    *pair("word_embedding", "rnn_layers", "Word embedding", "x W", "dW"),
    *pair("temporal_fc", "rnn_layers", "Temporal layers", "x w b", "dx dw db"),
    loss("temporal_softmax_loss", "rnn_layers", "Temporal layers", "x y mask"),
    *map(rule, RULES),
    model("TwoLayerNet", "fc_net", "X y"),
    model("ConvNet", "cnn", "X y"),
    model("CaptioningRNN", "rnn", "features captions"),
)

NORM = "dx dgamma dbeta"
BATCHNORM = "x gamma beta bn_param", NORM
RUNNING = "bn_param running_mean running_var"
BATCH_FIRST = "x", "h", "dx"                # (N, T, D) for (T, N, D)

CS231N = course(
    "CS231n",
    *pair("affine", "layers", FC, "x w b", "dx dw db", subject="fc"),
    *pair("relu", "layers", "ReLU", "x", "dx"),
    *pair("batchnorm", "layers", "Batch normalisation", *BATCHNORM, state=RUNNING),
    Function("batchnorm_backward_alt", "layers", "backward", ("dout", "cache"),
             ("dx", "dgamma", "dbeta"), "batchnorm_forward", "Batch normalisation", "batchnorm"),
    *pair("layernorm", "layers", "Layer normalisation", "x gamma beta ln_param", NORM),
    *pair("dropout", "layers", "Dropout", "x dropout_param", "dx"),
    *pair("conv", "layers", "Bias, stride and padding", "x w b conv_param", "dx dw db",
          naive="_naive", subject="strided_conv"),
    *pair("max_pool", "layers", "Max pooling", "x pool_param", "dx", naive="_naive",
          subject="max_pool"),
    *pair("spatial_batchnorm", "layers", "Batch normalisation", *BATCHNORM, state=RUNNING),
    *pair("spatial_groupnorm", "layers", "Group normalisation", "x gamma beta G gn_param", NORM),
    loss("svm_loss", "layers", "Hinge loss", "x y"),
    loss("softmax_loss", "layers", "Softmax and cross-entropy", "x y"),
    *pair("rnn_step", "rnn_layers", "Recurrent network", *STEP),
    *pair("rnn", "rnn_layers", "Back-propagation through time", *SENTENCE, turned=BATCH_FIRST),
    *pair("word_embedding", "rnn_layers", "Word embedding", "x W", "dW"),
    *pair("lstm_step", "rnn_layers", "LSTM", *LSTM_STEP),
    *pair("lstm", "rnn_layers", "LSTM", *SENTENCE, turned=BATCH_FIRST),
    *pair("temporal_affine", "rnn_layers", "Temporal layers", "x w b", "dx dw db",
          subject="temporal_fc"),
    loss("temporal_softmax_loss", "rnn_layers", "Temporal layers", "x y mask"),
    *(rule(name, subject=f"{name}_from_state", known_as=name) for name in RULES),
    words=(("along axis 1, the batch: x is time-major, (T, N, D)",
            "along axis 0, the batch: x is (N, T, D)"),
           ("of every step, (T, N, H)", "of every step, (N, T, H)"),
           ("every step reads x[0], not x[t]", "every step reads x[:, 0], not x[:, t]"),
           ("step t of the way back belongs to x[t]", "step t of the way back belongs to x[:, t]")),
)

DEFAULT = "eecs545"
COURSES = {DEFAULT: EECS545, "cs231n": CS231N}


def course_of(found, name):
    """The name of another course that the functions which were found fit better, or None.

    What both courses have, each under its own name, tells most: svm_loss, for which one of them
    alone asks, may stand in any file.
    """
    def speaks_for(course, other):
        """What was found that a course asks for and another one does not: how much of it the other
        one calls by another name, and how much it is in all."""
        functions, others = COURSES[course].functions, COURSES[other].functions
        alone = [functions[one] for one in found if one in functions and one not in others]
        subjects = {function.subject for function in others.values()}
        return sum(function.subject in subjects for function in alone), len(alone)

    better = [other for other in COURSES if speaks_for(other, name) > speaks_for(name, other)]
    return max(better, key=lambda other: speaks_for(other, name), default=None)
