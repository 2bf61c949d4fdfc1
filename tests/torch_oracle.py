"""PyTorch twins of the layers, and the gradients that autograd gives for them."""
import torch
import torch.nn.functional as F


def gradients(function, inputs, dout):
    """(out, gradients of the inputs) of a torch function, for the upstream gradient dout."""
    tensors = [torch.tensor(value, requires_grad=True) for value in inputs]
    out = function(*tensors)
    out.backward(torch.tensor(dout))
    return out.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


def fc(x, w, b):
    return x.flatten(1) @ w + b


def relu(x):
    return F.relu(x)


def conv(x, w):
    return F.conv2d(x, w)


def conv_with(conv_param):
    return lambda x, w, b=None: F.conv2d(x, w, b, stride=conv_param["stride"],
                                         padding=conv_param["pad"])


def svm_loss(y):
    """PyTorch's is divided by the number of classes."""
    return lambda x: x.shape[1] * F.multi_margin_loss(x, torch.tensor(y))


def max_pool(pool_param):
    size = (pool_param["pool_height"], pool_param["pool_width"])
    return lambda x: F.max_pool2d(x, size, stride=pool_param["stride"])
