"""Slips of students, each a change of one line to a right file of student_right.

SLIPS: {(file, function): [(the right text, the wrong text, words that the diagnosis must hold)]}.
A function "a__b" is the b of student a.
"""

SLIPS = {
    # fully connected layer
    ("plain_layers", "fc_forward"): [
        ("np.dot(x_flat, w) + b", "np.dot(x_flat, w)", "bias is not added"),
        ("np.dot(x_flat, w) + b", "np.dot(x_flat, w) - b", "subtracted"),
    ],
    ("loops_layers", "fc_forward"): [
        ("out[i, j] = s + b[j]\n    ", "out[i, j] = s + b[j]\n        return out, (x, w, b)\n    ",
         "return inside"),
        ("s += x[i, k]*w[k, j]", "s = x[i, k]*w[k, j]", "+="),
        ("np.zeros((N, M), dtype=x.dtype)", "np.zeros(x)", "np.zeros"),
    ],
    ("plain_layers", "fc_backward"): [
        ("np.dot(dout, w.T)", "np.dot(dout, w)", "w is not transposed"),
        ("np.dot(dout, w.T)", "np.dot(dout, w.reshape(w.shape[1], -1))",
         "w is reshaped where it should be transposed"),
        ("np.dot(x.reshape(x.shape[0], -1).T, dout)", "np.dot(x.reshape(-1, x.shape[0]), dout)",
         "x is reshaped where it should be transposed"),
        ("np.dot(x.reshape(x.shape[0], -1).T, dout)",
         "np.dot(x.reshape(x.shape[0], -1).T, dout) / x.shape[0]", "divided by N"),
        ("np.dot(x.reshape(x.shape[0], -1).T, dout)", "np.dot(dout.T, x.reshape(x.shape[0], -1))",
         "dw is transposed"),
        ("np.sum(dout, axis=0)", "np.sum(dout, axis=1)", "over the features"),
        ("np.sum(dout, axis=0)", "np.mean(dout, axis=0)", "averaged"),
        ("np.sum(dout, axis=0)", "np.sum(dout)", "one number"),
        ("np.sum(dout, axis=0)", "np.sum(dout, axis=0, keepdims=True)", "keeps the batch axis"),
        ("x, w, b = cache", "w, x, b = cache", "another order"),
        ("return dx, dw, db", "return dw, dx, db", "wrong order"),
    ],
    ("loops_layers", "fc_backward"): [
        ("dw[k, j] += ", "dw[k, j] = ", "+="),
    ],

    # ReLU
    ("plain_layers", "relu_forward"): [
        ("np.maximum(0, x)", "np.max(x, 0)", "np.maximum"),
        ("np.maximum(0, x)", "np.max(0, x)", "np.maximum"),
        ("np.maximum(0, x)", "np.maximum(0.01 * x, x)", "leaky"),
        ("return np.maximum(0, x), x", "pass", "None"),
        ("return np.maximum(0, x), x", "raise NotImplementedError()", "not written yet"),
    ],
    ("einsum_layers", "relu_forward"): [
        ("x * (x > 0)", "(x > 0) * 1.0", "mask"),
    ],
    ("loops_layers", "relu_forward"): [
        ("np.zeros_like(x)", "np.zeros(x)", "np.zeros_like(x)"),
    ],
    ("plain_layers", "relu_backward"): [
        ("dout * (cache >= 0)", "dout * (dout >= 0)", "from dout"),
        ("dout * (cache >= 0)", "(cache > 0).astype(float)", "upstream gradient is left out"),
        ("dout * (cache >= 0)", "dout * np.maximum(0, cache)", "multiplied by x"),
        ("dout * (cache >= 0)", "dout", "must be 0 where x is negative"),
        ("return dout * (cache >= 0)", "x = cache\n    dx = None\n    return dx", "None"),
    ],
    ("loops_layers", "relu_backward"): [
        ("if x[index] > 0", "if x[index] < 0", "upside down"),
        ("if x[index] > 0:\n            dx[index] = dout[index]", "pass", "0 everywhere"),
    ],

    # convolution
    ("loops_layers", "conv_forward"): [
        ("H - HH + 1\n    Wout = W - WW + 1", "H - HH\n    Wout = W - WW", "last row"),
        ("Wout = W - WW + 1", "Wout = H - HH + 1", "width is taken from its height"),
        ("N, C, H, W = x.shape", "N, C, W, H = x.shape", "height and width are mixed up"),
        ("F, C, HH, WW = w.shape", "F, C, WW, HH = w.shape", "height and width are mixed up"),
        ("w[f, :, :, :]", "w[f, :, ::-1, ::-1]", "flipped"),
        ("    return out", "        return out", "return inside"),
        ("    return out", "                    return out", "return inside"),
        ("x[n, :, i:i+HH, j:j+WW]*w[f, :, :, :]", "x[n, 0, i:i+HH, j:j+WW]*w[f, 0, :, :]",
         "first channel"),
        ("np.sum(x[n, :,", "np.mean(x[n, :,", "divided by"),
        ("np.sum(x[n, :, i:i+HH, j:j+WW]*w[f, :, :, :])", "x[n, :, i:i+HH, j:j+WW]*w[f, :, :, :]",
         "sum"),
        ("return out, (x, w)", "return out", "not the tuple (out, cache)"),
    ],
    ("im2col_layers", "conv_forward"): [
        ("res.reshape(F, out_h, out_w, N).transpose(3, 0, 1, 2)", "res.reshape(N, F, out_h, out_w)",
         "reshape"),
        ("x[:, k, i, j].transpose(1, 2, 0).reshape(", "x[:, k, i, j].reshape(", "reshape"),
    ],
    ("loops_layers", "conv_backward"): [
        ("dx[n, :, i:i+HH, j:j+WW] += ", "dx[n, :, i:i+HH, j:j+WW] = ", "+="),
        ("dw[f] += ", "dw[f] = ", "+="),
        ("    return dx", "        return dx", "return inside"),
        ("N, F, Hout, Wout = dout.shape",
         "Hout, Wout = dout.shape[2] - HH + 1, dout.shape[3] - WW + 1", "dout has that size"),
        ("N, F, Hout, Wout = dout.shape", "N, F, Wout, Hout = dout.shape",
         "height and width are mixed up"),
    ],
    ("plain_layers", "conv_backward"): [
        ("s:s + WW] += ", "s:s + WW] = ", "+="),
        ("dw_rows += ", "dw_rows = ", "+="),
        ("x, w = cache", "w, x = cache", "another order"),
        ("return dx, dw_rows.reshape(w.shape)", "return dx, dw_rows.reshape(w.shape) / N",
         "divided by N"),
        ("return dx, dw_rows.reshape(w.shape)", "return dw_rows.reshape(w.shape), dx",
         "wrong order"),
    ],
    ("einsum_layers", "conv_backward"): [
        ("np.flip(w, (2, 3))", "w", "not flipped"),
        ("(p, p), (q, q)", "(q, q), (p, p)", "pads are swapped"),
        ("(p, p), (q, q)", "(p, p), (p, p)", "used for the columns"),
    ],
    ("im2col_layers", "conv_backward"): [
        ("dout.transpose(1, 2, 3, 0).reshape(F, -1)", "dout.reshape(F, -1)", "dout"),
        ("(dout_flat @ cols.T).reshape(w.shape)", "(cols @ dout_flat.T).reshape(w.shape)",
         "reshape"),
        ("np.add.at(dx, (slice(None), k, i, j), dcols)", "dx[:, k, i, j] += dcols", "+="),
    ],

    # max pooling
    ("loops_layers", "max_pool_forward"): [
        ("(H - HH)//stride + 1\n    Wout = (W - WW)//stride + 1", "H//stride\n    Wout = W//stride",
         "H // stride"),
        ("(H - HH)//stride + 1\n    Wout = (W - WW)//stride + 1", "H//HH\n    Wout = W//WW",
         "H // pool_height"),
        ("(H - HH)//stride + 1\n    Wout = (W - WW)//stride + 1",
         "(H - HH)//stride\n    Wout = (W - WW)//stride", "left out"),
        ("(W - WW)//stride + 1", "(H - HH)//stride + 1", "width is taken from its height"),
        ("N, C, H, W = x.shape", "N, C, W, H = x.shape", "height and width are mixed up"),
        ("WW = pool_param['pool_width']", "WW = pool_param['pool_height']",
         "pool_height is used for the width"),
        ("j*stride:j*stride+WW", "j:j+WW", "j·stride"),
        ("i*stride:i*stride+HH, j*stride:j*stride+WW", "i:i+HH, j:j+WW", "(i·stride, j·stride)"),
        ("i*stride:i*stride+HH, j*stride:j*stride+WW", "i*HH:(i+1)*HH, j*WW:(j+1)*WW", "stride"),
        ("np.max(", "np.mean(", "mean"),
        ("np.max(x[n, c, ", "np.max(x[n, :, ", "channels"),
        ("    return out", "                    return out", "return inside"),
        ("    return out", "        return out", "return inside"),
        ("x[n, c, i*stride:i*stride+HH, j*stride:j*stride+WW])",
         "x[n, c, i*stride:i*stride+HH, j*stride:j*stride+WW], initial=0)", "starts at 0"),
    ],
    ("im2col_layers", "max_pool_forward"): [
        ("x.reshape(N * C, H, W)[:, i, j]", "x.reshape(N * C, ph * pw, -1)",
         "reshape does not cut"),
    ],
    ("loops_layers", "max_pool_backward"): [
        ("+= dout[n, c, i, j]", "= dout[n, c, i, j]", "+="),
        ("dx[n, c, i*stride+row, j*stride+col]", "dx[n, c, row, col]", "where the window starts"),
        ("dx[n, c, i*stride+row, j*stride+col]", "dx[n, c, i+row, j+col]",
         "the window starts at (i·stride, j·stride)"),
        ("+= dout[n, c, i, j]", "+= 1", "upstream gradient"),
        ("np.argmax(window)", "np.argmin(window)", "minimum"),
        ("N, C, Hout, Wout = dout.shape",
         "Hout, Wout = (dout.shape[2] - HH)//stride + 1, (dout.shape[3] - WW)//stride + 1",
         "dout has that size"),
        ("    return dx", "        return dx", "return inside"),
        ("+= dout[n, c, i, j]", "+= dout[n, c, i, j]*window[row, col]", "its own value"),
    ],
    ("plain_layers", "max_pool_backward"): [
        ("i*s + k // pw, j*s + k % pw", "i*s + k // ph, j*s + k % ph", "pool_width"),
    ],
    ("ties", "all__max_pool_backward"): [
        ("+= (window", "= (window", "+="),
        ("(window == m)", "np.isclose(window, m)", "isclose"),
        ("(window == m)", "np.ones_like(window)", "every number"),
    ],

    # softmax
    ("losses", "reads__softmax_loss"): [
        ("y])) / N", "y]))", "divide it by N"),
        ("y])) / N", "y])) / N / N", "twice"),
        ("-np.sum", "np.sum", "sign"),
        ("np.log(probs[np.arange(N), y])", "np.log(probs[np.arange(N), y] + 1e-5)", "1e-5"),
        ("np.log(probs[np.arange(N), y])", "np.log(probs[np.arange(N), y] + 1e-7)", "1e-7"),
        ("y])) / N", "y])) / x.shape[1]", "number of classes"),
        ("y])) / N", "y])) / x.size", "N·C"),
        ("np.sum(probs, axis=1).reshape(N, 1)", "np.sum(probs, axis=0)", "over the batch"),
        ("dx /= N", "pass", "not divided by N"),
        ("dx /= N", "dx /= N * N", "twice"),
        ("dx[np.arange(N), y] -= 1", "pass", "right class"),
        ("probs[np.arange(N), y]", "probs[:, y]", "unknown"),
        ("return loss, dx", "return dx, loss", "wrong order"),
    ],
    ("loops_layers", "softmax_loss"): [
        ("    loss /= N", "        loss /= N", "divided by N"),
        ("    loss /= N\n    dx /= N\n    return",
         "        loss /= N\n        dx /= N\n        return", "return inside"),
    ],

    # the plain recurrent network
    ("steps_rnn_layers", "rnn_step_forward"): [
        ("next_h = np.tanh(a)", "next_h = a", "tanh"),
        ("+ b", "", "bias"),
        ("np.dot(prev_h, Wh)", "np.dot(prev_h, Wh.T)", "transposed"),
    ],
    ("steps_rnn_layers", "rnn_step_backward"): [
        ("(1 - np.tanh(a) ** 2)", "(1 - np.tanh(a))", "1 - "),
        ("(1 - np.tanh(a) ** 2)", "(1 - a ** 2)", "tanh"),
        ("dnext_h * (1 - np.tanh(a) ** 2)", "dnext_h", "tanh"),
        ("np.dot(da, Wh.T)", "np.dot(da, Wh)", "Wh is not transposed"),
        ("np.sum(da, axis=0)", "np.sum(da, axis=1)", "batch"),
        ("np.dot(prev_h.T, da)", "np.dot(np.tanh(a).T, da)", "state"),
        ("return dx, dprev_h, dWx, dWh, db", "return dx, dprev_h, dWh, dWx, db", "wrong order"),
    ],
    ("split_rnn_layers", "rnn_forward"): [
        ("(h0 if t == 0 else h[t - 1])", "h0", "h0"),
    ],
    ("inplace_layers", "rnn_forward"): [
        ("        prev = h[t]\n    return", "    return", "h0"),
        ("        prev = h[t]\n    return h, (x, h0, Wx, Wh, b, h)",
         "        prev = h[t]\n        return h, (x, h0, Wx, Wh, b, h)", "return inside"),
    ],
    ("steps_rnn_layers", "rnn_backward"): [
        ("reversed(range(dh.shape[0]))", "range(dh.shape[0])", "forwards in time"),
        ("dh[t] + dprev_h", "dh[t]", "does not go on to the step before"),
        ("dh[t] + dprev_h", "dprev_h", "0"),
        ("dxs.reverse()", "pass", "order"),
    ],
    ("float64_layers", "rnn_backward"): [
        ("range(T)[::-1]", "range(T)", "forwards in time"),
        ("dWx += ", "dWx = ", "+="),
        ("dWh += ", "dWh = ", "+="),
        ("db += ", "db = ", "+="),
        ("dWh += np.dot(h[t].T, flow)", "dWh += np.dot(h[t+1].T, flow)", "h[t - 1]"),
        ("return dx, flow, ", "return dx, np.zeros_like(flow), ", "dh0"),
    ],
    ("inplace_layers", "rnn_backward"): [
        ("dh0 = da @ Wh.T", "dh0 = np.zeros_like(h0)", "dh0"),
    ],

    # LSTM
    ("steps_rnn_layers", "lstm_step_forward"): [
        ("o = sigmoid(a[:, 2*H:3*H])\n    g = np.tanh(a[:, 3*H:4*H])",
         "g = np.tanh(a[:, 2*H:3*H])\n    o = sigmoid(a[:, 3*H:4*H])", "order i, f, g, o"),
        ("o * np.tanh(next_c)", "o * next_c", "tanh"),
        ("g = np.tanh(", "g = sigmoid(", "tanh"),
        ("f * prev_c + i * g", "prev_c + i * g", "forget"),
        ("+ b\n", "+ b[0:H]\n", "bias"),
    ],
    ("split_rnn_layers", "lstm_step_forward"): [
        ("ai, af, ao, ag = np.split", "af, ai, ao, ag = np.split", "order f, i, o, g"),
    ],
    ("steps_rnn_layers", "lstm_step_backward"): [
        ("df * f * (1 - f)", "df", "forget gate"),
        ("do * o * (1 - o)", "do", "output gate"),
        ("di * i * (1 - i)", "di", "input gate"),
        ("dg * (1 - g ** 2)", "dg", "block input"),
        ("dc = dnext_c + ", "dc = ", "dnext_c"),
        ("dnext_h * o * (1 - np.tanh(next_c) ** 2)", "dnext_h * o", "tanh"),
        ("df = dc * prev_c", "df = dc * g", "forget gate"),
        ("di * i * (1 - i), df * f * (1 - f)", "df * f * (1 - f), di * i * (1 - i)", "exchanged"),
        ("dprev_c = dc * f", "dprev_c = dnext_c * f", "dprev_c"),
    ],
    ("split_rnn_layers", "lstm_forward"): [
        ("h, c, cache = lstm_step_forward", "h, _, cache = lstm_step_forward", "cell"),
        ("hs[-1], c", "h0, c", "h0"),
    ],
    ("batches_rnn_layers", "lstm_forward"): [
        ("state = (h0, h0 * 0)", "state = (h0, h0)", "cell"),
    ],
    ("steps_rnn_layers", "lstm_backward"): [
        ("dx[t], dprev_h, dprev_c, ", "dx[t], _, dprev_c, ", "dh"),
        ("dx[t], dprev_h, dprev_c, ", "dx[t], dprev_h, _, ", "cell"),
        ("dWx += dWx_t", "dWx = dWx_t", "+="),
        ("range(T-1, -1, -1)", "range(T)", "forwards in time"),
    ],
    ("batches_rnn_layers", "lstm_backward"): [
        ("dct = dnext_c + ", "dct = ", "cell"),
        ("dz[:, H:2 * H] = dct * c * f * (1 - f)\n        ", "", "forget gate"),
    ],

    # words
    ("steps_rnn_layers", "word_embedding_forward"): [
        ("W[x]", "W[x - 1]", "count from 0"),
    ],
    ("steps_rnn_layers", "word_embedding_backward"): [
        ("np.add.at(dW, x, dout)", "dW[x] += dout", "np.add.at"),
        ("np.add.at(dW, x, dout)", "dW[x] = dout", "np.add.at"),
        ("np.zeros_like(W)", "np.zeros(W)", "np.zeros_like"),
        ("return dW", "return dW / len(x)", "divided by N"),
    ],
    ("loops_rnn_layers", "word_embedding_backward"): [
        ("dW[word] += dout", "dW[word] += 1 + 0 * dout", "without dout"),
    ],
    ("split_rnn_layers", "temporal_fc_forward"): [
        (".reshape(N, T, w.shape[1])", "", "flat"),
        ("@ w + b", "@ w", "bias"),
        (".reshape(N, T, w", ".reshape(T, N, w", "N and T"),
    ],
    ("split_rnn_layers", "temporal_fc_backward"): [
        ("flat.sum(axis=0)", "dout.sum(axis=0)", "over time"),
        ("flat.sum(axis=0)", "dout.sum(axis=1)", "over the batch"),
        ("flat @ w.T", "flat @ w", "w is not transposed"),
        (".reshape(N, T, D)", "", "flat"),
    ],
    ("steps_rnn_layers", "temporal_fc_backward"): [
        ("dw += ", "dw = ", "last step"),
    ],
    ("split_rnn_layers", "temporal_softmax_loss"): [
        (".sum() / N", ".sum() / (N * T)", "N·T"),
        (".sum() / N", ".sum() / mask.sum()", "positions that count"),
        (".sum() / N", ".sum()", "not divided by N"),
        ("mask_flat * log_p", "log_p", "mask"),
        ("d *= (mask_flat / N)[:, None].astype(x.dtype)", "d /= N", "mask"),
        ("mask_flat / N", "mask_flat / (N * T)", "N·T"),
    ],
    ("losses", "small__temporal_softmax_loss"): [
        ("1e-9", "1e-6", "1e-6"),
    ],
    ("losses", "nested__temporal_softmax_loss"): [
        ("if not mask", "if mask", "upside down"),
    ],

    # update rules
    ("rules", "short__sgd"): [
        ("w - config", "w + config", "uphill"),
        ("config['learning_rate'] * dw", "dw", "learning rate"),
        (", config\n", "\n", "tuple"),
    ],
    ("rules", "defaults__sgd_momentum"): [
        ("    config['velocity'] = v\n", "", "velocity"),
        ("config['momentum'] * v - ", "v - ", "momentum"),
        ("- config['learning_rate'] * dw\n",
         "- (1 - config['momentum']) * config['learning_rate'] * dw\n", "1 - momentum"),
    ],
    ("rules", "defaults__rmsprop"): [
        ("np.sqrt(config['cache'])", "config['cache']", "square root"),
        ("+ config['epsilon']", "", "epsilon"),
        ("(1 - config['decay_rate']) * dw**2", "dw**2", "1 - decay_rate"),
    ],
    ("rules", "defaults__adam"): [
        ("    config['t'] += 1\n", "", "t is 0"),
        ("    config['t'] += 1\n", "    t = 1\n    config['t'] = t\n", "t stays"),
        ("config['m'] / (1 - beta1 ** config['t'])", "config['m']", "m is not corrected"),
        ("config['v'] / (1 - beta2 ** config['t'])", "config['v']", "v is not corrected"),
        ("np.sqrt(v_hat)", "v_hat", "square root"),
        ("np.sqrt(v_hat) + config['epsilon']", "np.sqrt(v_hat + config['epsilon'])",
         "under the root"),
        ("beta1, beta2 = config['beta1'], config['beta2']",
         "beta2, beta1 = config['beta1'], config['beta2']", "mixed up"),
        ("(dw ** 2)", "dw", "dw²"),
    ],

    # models
    ("models", "bare__TwoLayerNet"): [
        ("dh = relu_backward(dh, relu_cache)\n        ", "", "ReLU's backward pass is left out"),
        ("h, fc1_cache = fc_forward(X, W1, b1)",
         "h, fc1_cache = fc_forward(X, W1, b1)\n        fc1_cache = (W1, X, b1)", "another order"),
        ("grads['W1'], grads['b1'] = fc_backward", "grads['W1'], grads['B1'] = fc_backward", "B1"),
        ("1e-3 * np.random.randn(input_dim, hidden_dim)", "np.zeros((input_dim, hidden_dim))",
         "same numbers for each unit"),
    ],
    ("models", "full__TwoLayerNet"): [
        ("(ds @ p['W2'].T) * (z > 0)", "ds", "handed to the layer below"),
        ("(z > 0)", "(ds @ p['W2'].T > 0)", "mask of ReLU"),
        ("loss += 0.5 * self.reg", "loss += self.reg", "½"),
        ("X.T @ dz + self.reg * p['W1']", "X.T @ dz", "penalty"),
        ("dz.sum(axis=0)", "dz.sum(axis=0) + self.reg * p['b1']", "biases"),
        ("dz.sum(axis=0),", "ds.sum(axis=0),", "db1"),
        ("-np.mean", "np.mean", "loss"),
    ],
    ("models", "bare__ConvNet"): [
        ("        d = relu_backward(d, relu1_cache)\n", "", "ReLU's backward pass is left out"),
        ("        d = relu_backward(d, relu2_cache)\n", "", "ReLU's backward pass is left out"),
        ("'W2': dW2, 'b2': db2, 'W3': dW3, 'b3': db3", "'W2': dW2, 'b2': db3, 'W3': dW3, 'b3': db2",
         "other's name"),
    ],
    ("models", "regular__ConvNet"): [
        ("for k in ('W1', 'W2', 'W3'):", "for k in ('W1', 'W2', 'W3', 'b2', 'b3'):", "biases"),
    ],
    ("models", "layered__CaptioningRNN"): [
        ("captions[:, 1:]", "captions[:, :-1]", "next word"),
        ("rnn_forward(emb.transpose(1, 0, 2)", "rnn_forward(emb", "rnn_forward"),
        ("(captions_out != self._null)", "np.ones(captions_out.shape, bool)", "padding"),
        ("!= self._null", "!= 0", "word_to_idx"),
        ("fc_backward(dh0, cache_proj)", "fc_backward(dh[0], cache_proj)", "dh0"),
        ("self.params['W_vocab'] = np.random.randn(hidden_dim, V)",
         "self.params['W_vocab'] = np.random.randn(V, hidden_dim)", "shape"),
    ],
    ("models", "steps__CaptioningRNN"): [
        ("grads['Wh'] += dWh", "grads['Wh'] = dWh", "dWh"),
        ("+ dnext, step", ", step", "unknown"),
    ],
}
