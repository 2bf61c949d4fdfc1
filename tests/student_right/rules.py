# Update rules: in place, pure, in the style of CS231n and of PyTorch, with classes and closures.
# A name before two underscores is the student's.
import math

import numpy as np


def short__sgd(w, dw, config=None):
    return w - config['learning_rate'] * dw, config


def defaults__sgd(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    next_w = w - config['learning_rate'] * dw
    return next_w, config


def inplace__sgd(w, dw, config=None):
    if config is None: config = {}
    config.setdefault('learning_rate', 0.01)
    w -= config['learning_rate'] * dw
    return w, config


def defaults__sgd_momentum(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('momentum', 0.9)
    v = config.get('velocity', np.zeros_like(w))
    v = config['momentum'] * v - config['learning_rate'] * dw
    next_w = w + v
    config['velocity'] = v
    return next_w, config


def inplace__sgd_momentum(w, dw, config=None):
    if 'velocity' not in config:
        config['velocity'] = np.zeros(w.shape, w.dtype)
    config['velocity'] *= config.get('momentum', 0.9)
    config['velocity'] -= config['learning_rate'] * dw
    w += config['velocity']
    return w, config


def torch_like__sgd_momentum(w, dw, config=None):
    config = dict(config)
    buf = config.get('momentum', 0.9) * config.get('buf', 0) + dw
    config['buf'] = buf
    return w - config['learning_rate'] * buf, config


def defaults__rmsprop(w, dw, config=None):
    if config is None: config = {}
    config.setdefault('learning_rate', 1e-2)
    config.setdefault('decay_rate', 0.99)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('cache', np.zeros_like(w))
    config['cache'] = config['decay_rate'] * config['cache'] + (1 - config['decay_rate']) * dw**2
    next_w = w - config['learning_rate'] * dw / (np.sqrt(config['cache']) + config['epsilon'])
    return next_w, config


def under_root__rmsprop(w, dw, config=None):
    d = config.get('decay_rate', 0.99)
    e = config.get('epsilon', 1e-8)
    s = config.get('cache', 0) * d + (1 - d) * np.square(dw)
    new = dict(config, cache=s)
    return w - config['learning_rate'] * dw / np.sqrt(s + e), new


def inplace__rmsprop(w, dw, config=None):
    config.setdefault('cache', np.zeros_like(w))
    d = config.setdefault('decay_rate', 0.99)
    config['cache'] *= d
    config['cache'] += (1 - d) * dw * dw
    epsilon = config.setdefault('epsilon', 1e-8)
    w -= config['learning_rate'] * dw / (np.sqrt(config['cache']) + epsilon)
    return w, config


def defaults__adam(w, dw, config=None):
    if config is None: config = {}
    config.setdefault('learning_rate', 1e-3)
    config.setdefault('beta1', 0.9)
    config.setdefault('beta2', 0.999)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('m', np.zeros_like(w))
    config.setdefault('v', np.zeros_like(w))
    config.setdefault('t', 0)
    beta1, beta2 = config['beta1'], config['beta2']
    config['t'] += 1
    config['m'] = beta1 * config['m'] + (1 - beta1) * dw
    config['v'] = beta2 * config['v'] + (1 - beta2) * (dw ** 2)
    m_hat = config['m'] / (1 - beta1 ** config['t'])
    v_hat = config['v'] / (1 - beta2 ** config['t'])
    next_w = w - config['learning_rate'] * m_hat / (np.sqrt(v_hat) + config['epsilon'])
    return next_w, config


def end_of_section__adam(w, dw, config=None):
    """The more efficient order of computation: alpha_t, and epsilon outside of the correction."""
    if config is None: config = {}
    config.setdefault('learning_rate', 1e-3)
    config.setdefault('beta1', 0.9)
    config.setdefault('beta2', 0.999)
    config.setdefault('epsilon', 1e-8)
    config.setdefault('m', np.zeros_like(w))
    config.setdefault('v', np.zeros_like(w))
    config.setdefault('t', 0)
    t = config['t'] + 1
    m = config['beta1'] * config['m'] + (1 - config['beta1']) * dw
    v = config['beta2'] * config['v'] + (1 - config['beta2']) * dw * dw
    alpha = config['learning_rate'] * math.sqrt(1 - config['beta2'] ** t)
    alpha /= 1 - config['beta1'] ** t
    w -= alpha * (m / (np.sqrt(v) + config['epsilon']))
    config['t'], config['m'], config['v'] = t, m, v
    return w, config


def pure__adam(w, dw, config=None):
    lr = config['learning_rate']
    b1 = config.get('beta1', .9)
    b2 = config.get('beta2', .999)
    eps = config.get('epsilon', 1e-8)
    moments = [b1 * m + (1 - b1) * dw ** p if b == 1 else b2 * m + (1 - b2) * dw ** p
               for m, p, b in zip(config.get('moments', (0, 0)), (1, 2), (1, 2))]
    step = config.get('step', 0) + 1
    m_hat, v_hat = moments[0] / (1 - b1 ** step), moments[1] / (1 - b2 ** step)
    return w - lr * m_hat / (v_hat ** 0.5 + eps), {**config, 'moments': moments, 'step': step}


class State:
    def __init__(self, w):
        self.m, self.v, self.t = np.zeros_like(w), np.zeros_like(w), 0


def object__adam(w, dw, config=None):
    s = config.setdefault('state', State(w))
    b1, b2 = config.get('beta1', 0.9), config.get('beta2', 0.999)
    s = config['state'] = State(w) if s is None else s
    new = State(w)
    new.t = s.t + 1
    new.m = s.m * b1 + dw * (1 - b1)
    new.v = s.v * b2 + dw * dw * (1 - b2)
    m, v = new.m / (1 - b1 ** new.t), new.v / (1 - b2 ** new.t)
    next_w = w - config['learning_rate'] * m / (np.sqrt(v) + config.get('epsilon', 1e-8))
    config['state'] = new
    return next_w, config
