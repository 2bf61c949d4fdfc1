# Models with as little or as much as the assignment asks for; a name before two underscores is the
# student's. Without reg, dtype or weight_scale a model takes what is left.
import numpy as np

from layers import *
from rnn_layers import *


class bare__TwoLayerNet(object):
    def __init__(self, input_dim=784, hidden_dim=100, num_classes=10):
        self.params = {}
        self.params['W1'] = 1e-3 * np.random.randn(input_dim, hidden_dim)
        self.params['b1'] = np.zeros(hidden_dim)
        self.params['W2'] = 1e-3 * np.random.randn(hidden_dim, num_classes)
        self.params['b2'] = np.zeros(num_classes)

    def loss(self, X, y=None):
        W1, b1, W2, b2 = self.params['W1'], self.params['b1'], self.params['W2'], self.params['b2']
        h, fc1_cache = fc_forward(X, W1, b1)
        h, relu_cache = relu_forward(h)
        scores, fc2_cache = fc_forward(h, W2, b2)
        if y is None:
            return scores
        loss, dscores = softmax_loss(scores, y)
        grads = {}
        dh, grads['W2'], grads['b2'] = fc_backward(dscores, fc2_cache)
        dh = relu_backward(dh, relu_cache)
        _, grads['W1'], grads['b1'] = fc_backward(dh, fc1_cache)
        return loss, grads


class full__TwoLayerNet:
    """Everything by hand: no layer is called."""

    def __init__(self, input_dim=28*28, hidden_dim=100, num_classes=10, weight_scale=1e-3, reg=0.0,
                 dtype=np.float32, rng=None):
        rng = np.random.RandomState(0)
        self.reg = reg
        self.params = dict(
            W1=rng.normal(0, weight_scale or 0.01, (input_dim, hidden_dim)).astype(dtype),
            b1=np.zeros(hidden_dim, dtype),
            W2=rng.normal(0, weight_scale or 0.01, (hidden_dim, num_classes)).astype(dtype),
            b2=np.zeros(num_classes, dtype))

    def loss(self, X, y=None):
        p = self.params
        X = X.reshape(X.shape[0], -1)
        z = X @ p['W1'] + p['b1']
        a = np.maximum(z, 0)
        s = a @ p['W2'] + p['b2']
        if y is None:
            return s
        n = np.arange(len(X))
        s = s - s.max(axis=1, keepdims=True)
        prob = np.exp(s)
        prob /= prob.sum(axis=1, keepdims=True)
        loss = -np.mean(s[n, y] - np.log(np.exp(s).sum(axis=1)))
        loss += 0.5 * self.reg * (np.sum(p['W1'] ** 2) + np.sum(p['W2'] ** 2))
        ds = prob
        ds[n, y] -= 1
        ds /= len(X)
        dz = (ds @ p['W2'].T) * (z > 0)
        return loss, {'W1': X.T @ dz + self.reg * p['W1'], 'b1': dz.sum(axis=0),
                      'W2': a.T @ ds + self.reg * p['W2'], 'b2': ds.sum(axis=0)}


class bare__ConvNet(object):
    """Conv, relu, pool, fc, relu, fc; no regularisation and no dtype."""

    def __init__(self, input_dim=(1, 28, 28), num_filters=32, filter_size=7, hidden_dim=100,
                 num_classes=10, weight_scale=1e-3):
        C, H, W = input_dim
        self.params = {}
        pooled = num_filters * ((H - filter_size + 1) // 2) * ((W - filter_size + 1) // 2)
        self.params['W1'] = np.random.normal(scale=weight_scale,
                                             size=(num_filters, C, filter_size, filter_size))
        self.params['W2'] = np.random.normal(scale=weight_scale, size=(pooled, hidden_dim))
        self.params['b2'] = np.zeros(hidden_dim)
        self.params['W3'] = np.random.normal(scale=weight_scale, size=(hidden_dim, num_classes))
        self.params['b3'] = np.zeros(num_classes)

    def loss(self, X, y=None):
        pool_param = {'pool_height': 2, 'pool_width': 2, 'stride': 2}
        conv, conv_cache = conv_forward(X, self.params['W1'])
        act, relu1_cache = relu_forward(conv)
        pool, pool_cache = max_pool_forward(act, pool_param)
        flat = pool.reshape(pool.shape[0], -1)
        hidden, fc2_cache = fc_forward(flat, self.params['W2'], self.params['b2'])
        hidden, relu2_cache = relu_forward(hidden)
        scores, fc3_cache = fc_forward(hidden, self.params['W3'], self.params['b3'])
        if y is None:
            return scores
        loss, d = softmax_loss(scores, y)
        d, dW3, db3 = fc_backward(d, fc3_cache)
        d = relu_backward(d, relu2_cache)
        d, dW2, db2 = fc_backward(d, fc2_cache)
        d = max_pool_backward(d.reshape(pool.shape), pool_cache)
        d = relu_backward(d, relu1_cache)
        _, dW1 = conv_backward(d, conv_cache)
        return loss, {'W1': dW1, 'W2': dW2, 'b2': db2, 'W3': dW3, 'b3': db3}


class regular__ConvNet(object):
    def __init__(self, input_dim=(1, 28, 28), num_filters=32, filter_size=7, hidden_dim=100,
                 num_classes=10, weight_scale=1e-3, reg=0.0, dtype=np.float32):
        self.params, self.reg, self.dtype = {}, reg, dtype
        C, H, W = input_dim
        HH, WW = H - filter_size + 1, W - filter_size + 1
        shapes = [('W1', (num_filters, C, filter_size, filter_size)),
                  ('W2', (num_filters * (HH // 2) * (WW // 2), hidden_dim)), ('b2', (hidden_dim,)),
                  ('W3', (hidden_dim, num_classes)), ('b3', (num_classes,))]
        for name, shape in shapes:
            self.params[name] = np.zeros(shape)
            if name.startswith('W'):
                self.params[name] += weight_scale * np.random.standard_normal(shape)
        for k, v in self.params.items():
            self.params[k] = v.astype(dtype)

    def loss(self, X, y=None):
        X = X.astype(self.dtype)
        p = self.params
        caches = []

        def keep(result):
            caches.append(result[1])
            return result[0]

        out = keep(conv_forward(X, p['W1']))
        out = keep(relu_forward(out))
        out = keep(max_pool_forward(out, dict(pool_height=2, pool_width=2, stride=2)))
        shape = out.shape
        out = keep(fc_forward(out.reshape(shape[0], -1), p['W2'], p['b2']))
        out = keep(relu_forward(out))
        scores = keep(fc_forward(out, p['W3'], p['b3']))
        if y is None:
            return scores
        grads = {}
        loss, d = softmax_loss(scores, y)
        d, grads['W3'], grads['b3'] = fc_backward(d, caches.pop())
        d, grads['W2'], grads['b2'] = fc_backward(relu_backward(d, caches.pop()), caches.pop())
        d = relu_backward(max_pool_backward(d.reshape(shape), caches.pop()), caches.pop())
        _, grads['W1'] = conv_backward(d, caches.pop())
        for k in ('W1', 'W2', 'W3'):
            loss += 0.5 * self.reg * np.sum(p[k] ** 2)
            grads[k] += self.reg * p[k]
        return loss, grads


class layered__CaptioningRNN(object):
    def __init__(self, word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128,
                 cell_type='rnn', dtype=np.float32):
        self.cell_type = cell_type
        self.dtype = dtype
        self.word_to_idx = word_to_idx
        self.idx_to_word = {i: w for w, i in word_to_idx.items()}
        self.params = {}
        V = len(word_to_idx)
        self._null = word_to_idx['<NULL>']
        self._start = word_to_idx.get('<START>', None)
        self._end = word_to_idx.get('<END>', None)
        self.params['W_embed'] = np.random.randn(V, wordvec_dim) / 100
        self.params['W_proj'] = np.random.randn(input_dim, hidden_dim) / np.sqrt(input_dim)
        self.params['b_proj'] = np.zeros(hidden_dim)
        n = {'lstm': 4, 'rnn': 1}[cell_type]
        self.params['Wx'] = np.random.randn(wordvec_dim, n * hidden_dim) / np.sqrt(wordvec_dim)
        self.params['Wh'] = np.random.randn(hidden_dim, n * hidden_dim) / np.sqrt(hidden_dim)
        self.params['b'] = np.zeros(n * hidden_dim)
        self.params['W_vocab'] = np.random.randn(hidden_dim, V) / np.sqrt(hidden_dim)
        self.params['b_vocab'] = np.zeros(V)
        for k, v in self.params.items():
            self.params[k] = v.astype(self.dtype)

    def loss(self, features, captions):
        captions_in = captions[:, :-1]
        captions_out = captions[:, 1:]
        mask = (captions_out != self._null)
        p, grads = self.params, {}
        h0, cache_proj = fc_forward(features, p['W_proj'], p['b_proj'])
        emb, cache_emb = word_embedding_forward(captions_in, p['W_embed'])
        h, cache_rnn = rnn_forward(emb.transpose(1, 0, 2), h0, p['Wx'], p['Wh'], p['b'])
        scores, cache_vocab = temporal_fc_forward(h.transpose(1, 0, 2), p['W_vocab'], p['b_vocab'])
        loss, dscores = temporal_softmax_loss(scores, captions_out, mask)
        dh, grads['W_vocab'], grads['b_vocab'] = temporal_fc_backward(dscores, cache_vocab)
        dh = dh.transpose(1, 0, 2)
        demb, dh0, grads['Wx'], grads['Wh'], grads['b'] = rnn_backward(dh, cache_rnn)
        grads['W_embed'] = word_embedding_backward(demb.transpose(1, 0, 2), cache_emb)
        _, grads['W_proj'], grads['b_proj'] = fc_backward(dh0, cache_proj)
        return loss, grads


class steps__CaptioningRNN(object):
    """Its own loops over the words: only the step functions are called."""

    def __init__(self, word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128, cell_type='rnn',
                 dtype=np.float32):
        self.null = word_to_idx['<NULL>']
        self.dtype = dtype
        V, D, W, H = len(word_to_idx), input_dim, wordvec_dim, hidden_dim
        make = lambda *s: (0.1 * np.random.randn(*s)).astype(dtype)
        self.params = {'W_proj': make(D, H), 'b_proj': np.zeros(H, dtype), 'W_embed': make(V, W),
                       'Wx': make(W, H), 'Wh': make(H, H), 'b': np.zeros(H, dtype),
                       'W_vocab': make(H, V), 'b_vocab': np.zeros(V, dtype)}

    def loss(self, features, captions):
        p = self.params
        N, T = captions.shape
        grads = {k: np.zeros_like(v) for k, v in p.items()}
        h = features @ p['W_proj'] + p['b_proj']
        tape, loss = [], 0
        for t in range(T - 1):
            x = p['W_embed'][captions[:, t]]
            h, step = rnn_step_forward(x, h, p['Wx'], p['Wh'], p['b'])
            scores = h @ p['W_vocab'] + p['b_vocab']
            target = captions[:, t + 1]
            counts = (target != self.null).astype(self.dtype)
            scores = scores - scores.max(axis=1, keepdims=True)
            log_p = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
            loss -= np.sum(counts * log_p[np.arange(N), target]) / N
            d = np.exp(log_p)
            d[np.arange(N), target] -= 1
            tape.append((h, step, d * counts[:, None] / N))
        dnext = np.zeros_like(h)
        for t in range(T - 2, -1, -1):
            h, step, d = tape[t]
            grads['W_vocab'] += h.T @ d
            grads['b_vocab'] += d.sum(axis=0)
            dx, dnext, dWx, dWh, db = rnn_step_backward(d @ p['W_vocab'].T + dnext, step)
            grads['Wx'] += dWx
            grads['Wh'] += dWh
            grads['b'] += db
            np.add.at(grads['W_embed'], captions[:, t], dx)
        grads['W_proj'] = features.T @ dnext
        grads['b_proj'] = dnext.sum(axis=0)
        return loss, grads
