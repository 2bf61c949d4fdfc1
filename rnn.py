"""A recurrent network that describes pictures, trained on captions and sampled word by word."""
import math

import numpy as np

import rnn_layers       # for the LSTM, which the assignment does not ask for: only where it is used
from checks import arrays, indices, number, positive_integers
from layers import fc_backward, fc_forward
from norm_layers import dropout_backward, dropout_forward
from rnn_layers import (rnn_backward, rnn_forward, rnn_step_forward, temporal_fc_backward,
                        temporal_fc_forward, temporal_softmax_loss, word_embedding_backward,
                        word_embedding_forward)

MUCH_PADDING = 0.25             # of a batch: from here on it is worth being skipped
WEIGHTS = "W_proj", "W_embed", "Wx", "Wh", "W_vocab"


class CaptioningRNN:
    """A recurrent network whose first hidden state is made from the features of a picture.

        h_0 = features·W_proj + b_proj
        h_t = cell(W_embed[word_t], h_{t-1})        the words are read from <START> on
        scores_t = h_t·W_vocab + b_vocab            of the next word, up to <END>

    `params` maps names to arrays, with D = input_dim, W = wordvec_dim, H = hidden_dim, V words, and
    G = 1 for the plain cell, 4 for the LSTM: W_proj (D, H), b_proj (H,); W_embed (V, W);
    Wx (W, G·H), Wh (H, G·H), b (G·H,); W_vocab (H, V), b_vocab (V,).

    Args:
        word_to_idx: dict of the V words and their ids. <NULL> (padding) must be there; sample()
            also needs <START>.
        input_dim, wordvec_dim, hidden_dim: sizes
        cell_type: 'rnn' or 'lstm'
        dtype: of the parameters; features are converted to it
        weight_scale: standard deviation of all initial weights; None takes 1/√(inputs of the
            layer), and 1 for the word vectors. Biases start at 0, those of the LSTM's forget gates
            at 1: at first a cell keeps what it holds (Jozefowicz et al., "An empirical exploration
            of recurrent network architectures", 2015).
        reg: strength of the L2 penalty ½·reg·Σ W² on all weights, but not the biases
        dropout: share of the word vectors' and the hidden states' numbers that loss() sets to 0,
            dividing the others by 1 - dropout
        feature_dropout: the same for the features
        rng: numpy.random.Generator or a seed, for the initial weights and for dropout
    """

    def __init__(self, word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128,
                 cell_type="rnn", dtype=np.float32, *, weight_scale=None, reg=0.0, dropout=0.0,
                 feature_dropout=0.0, rng=None):
        if not isinstance(word_to_idx, dict) or "<NULL>" not in word_to_idx:
            raise ValueError(f"CaptioningRNN: word_to_idx expects a dict with the word <NULL>, "
                             f"got {word_to_idx!r:.80}")
        if cell_type not in ("rnn", "lstm"):
            raise ValueError(f"CaptioningRNN: cell_type expects 'rnn' or 'lstm', got {cell_type!r}")
        if cell_type == "lstm" and not hasattr(rnn_layers, "lstm_forward"):
            raise ValueError("CaptioningRNN: cell_type 'lstm' needs the function lstm_forward, which "
                             "rnn_layers.py does not have")
        D, W, H = positive_integers("CaptioningRNN", input_dim=input_dim, wordvec_dim=wordvec_dim,
                                    hidden_dim=hidden_dim)
        self.word_to_idx, self.cell_type, self.dtype = dict(word_to_idx), cell_type, dtype
        self.input_dim, self.hidden_dim = D, H
        self.reg = number("CaptioningRNN", "reg", reg)
        self.dropout = number("CaptioningRNN", "dropout", dropout, below=1)
        self.feature_dropout = number("CaptioningRNN", "feature_dropout", feature_dropout, below=1)
        self.rng = np.random.default_rng(rng)
        self.null = word_to_idx["<NULL>"]
        self.start, self.end = word_to_idx.get("<START>"), word_to_idx.get("<END>")

        def weights(inputs, *shape):
            scale = 1 / math.sqrt(inputs) if weight_scale is None else weight_scale
            return (scale * self.rng.standard_normal(shape)).astype(dtype)

        V, G = len(word_to_idx), {"rnn": 1, "lstm": 4}[cell_type]
        self.params = {
            "W_proj": weights(D, D, H), "b_proj": np.zeros(H, dtype),
            "W_embed": weights(1, V, W),
            "Wx": weights(W, W, G * H), "Wh": weights(H, H, G * H), "b": np.zeros(G * H, dtype),
            "W_vocab": weights(H, H, V), "b_vocab": np.zeros(V, dtype),
        }
        if cell_type == "lstm":
            self.params["b"][H:2 * H] = 1       # see rnn_layers.py for the order of the gates

    # ------------------------------------------------------------ training

    def loss(self, features, captions):
        """The loss of a batch of captions, and its gradients, with dropout.

            loss = -1/N Σ_n Σ_t log p(word t + 1 of caption n | its words up to t)

        Words that are <NULL> do not count.

        Args:
            features: (N, input_dim)
            captions: (N, T) integer word ids: <START>, the words, <END>, then <NULL>
        Returns (loss, grads) with the keys of params.
        """
        features, read, wanted, mask = self._batch(features, captions)
        scores, caches = self._forward(features, read, mask, self.dropout, self.feature_dropout)
        loss, dscores = _loss_of_batch(scores, wanted, mask)
        grads = self._backward(dscores, mask, caches)
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            for name in WEIGHTS:
                loss += 0.5 * self.reg * np.vdot(self.params[name], self.params[name])
                grads[name] += self.reg * self.params[name]
        return loss, grads

    def total_loss(self, features, captions):
        """(loss summed over all words that count, their number), without dropout and penalty."""
        features, read, wanted, mask = self._batch(features, captions)
        scores, _ = self._forward(features, read, mask, dropout=0.0, feature_dropout=0.0)
        loss, _ = _loss_of_batch(scores, wanted, mask)
        return float(loss) * len(features), int(mask.sum())

    def _batch(self, features, captions):
        """(features, words that are read, words to predict, which of these count)."""
        features = self._features(features)
        captions = indices("CaptioningRNN", "captions", captions, None, len(self.word_to_idx))
        if captions.ndim != 2 or len(captions) != len(features) or captions.shape[1] < 2:
            raise ValueError(f"CaptioningRNN: captions expects a row of 2 or more words for each of "
                             f"the {len(features)} rows of features, got shape {captions.shape}")
        return features, captions[:, :-1], captions[:, 1:], captions[:, 1:] != self.null

    def _forward(self, features, words, mask, dropout, feature_dropout):
        """(scores (N, T, V) of the next words, packed by mask, what _backward needs)."""
        p = self.params
        forward = rnn_forward if self.cell_type == "rnn" else rnn_layers.lstm_forward
        features, _ = self._drop(features, feature_dropout)
        h0, cache_proj = fc_forward(features, p["W_proj"], p["b_proj"])
        vectors, cache_embed = word_embedding_forward(words, p["W_embed"])
        vectors, vectors_kept = self._drop(vectors, dropout)
        h, cache_cell = forward(_time_major(vectors), h0, p["Wx"], p["Wh"], p["b"])
        h, h_kept = self._drop(_time_major(h), dropout)
        scores, cache_vocab = temporal_fc_forward(_packed(h, mask), p["W_vocab"], p["b_vocab"])
        return scores, (cache_proj, cache_embed, vectors_kept, cache_cell, h_kept, cache_vocab)

    def _backward(self, dscores, mask, caches):
        """Gradients of all parameters: _forward backwards."""
        cache_proj, cache_embed, vectors_kept, cache_cell, h_kept, cache_vocab = caches
        backward = rnn_backward if self.cell_type == "rnn" else rnn_layers.lstm_backward
        dh, dW_vocab, db_vocab = temporal_fc_backward(dscores, cache_vocab)
        dh = _time_major(_undrop(_unpacked(dh, mask), h_kept))
        dvectors, dh0, dWx, dWh, db = backward(dh, cache_cell)
        dvectors = _undrop(_time_major(dvectors), vectors_kept)
        dW_embed = word_embedding_backward(dvectors, cache_embed)
        _, dW_proj, db_proj = fc_backward(dh0, cache_proj)
        return {"W_proj": dW_proj, "b_proj": db_proj, "W_embed": dW_embed, "Wx": dWx, "Wh": dWh,
                "b": db, "W_vocab": dW_vocab, "b_vocab": db_vocab}

    def _features(self, features):
        """The features (N, input_dim) in the dtype of the parameters."""
        features, = arrays("CaptioningRNN", features=(features, "ND"))
        if features.shape[1] != self.input_dim:
            raise ValueError(f"CaptioningRNN: features expects {self.input_dim} columns, "
                             f"got shape {features.shape}")
        return features.astype(self.dtype, copy=False)

    def _drop(self, x, share):
        """(x with this share of its numbers dropped, what _undrop needs)."""
        if not share:
            return x, None
        return dropout_forward(x, {"p": 1 - share, "mode": "train", "rng": self.rng})

    # ------------------------------------------------------------ sampling

    def sample(self, features, max_length=30, *, stop=False, never=(), beam=1, length_norm=0.0):
        """Write a caption for each picture: at every step the likeliest word (greedy decoding).

        Args:
            features: (N, input_dim)
            max_length: words of a caption
            stop: whether a caption ends with <END>, and <NULL> fills the rest. Without it each
                caption has max_length words, whatever they are.
            never: a tuple of words that are not written
            beam: with 2 or more, beam search: the so many likeliest captions of each picture are
                kept at every length, those that have reached <END> among them, and in the end the
                likeliest is returned. It stops at <END>.
            length_norm: beam search divides the log-probability of a caption by its length to this
                power before the final choice; 0 favours short captions
        Returns (N, max_length) integer word ids, without <START>.
        """
        features = self._features(features)
        max_length, beam = positive_integers("CaptioningRNN.sample", max_length=max_length, beam=beam)
        if isinstance(never, str):
            raise ValueError(f"CaptioningRNN.sample: never expects a tuple of words, got {never!r}")
        if self.start is None or self.end is None and (stop or beam > 1):
            raise ValueError("CaptioningRNN.sample: word_to_idx expects the words <START> and, to "
                             "stop at it, <END>")
        h, _ = fc_forward(features, self.params["W_proj"], self.params["b_proj"])
        state = (h, np.zeros_like(h)) if self.cell_type == "lstm" else (h,)
        banned = [self.word_to_idx[word] for word in never if word in self.word_to_idx]
        if beam > 1:
            return self._beam_search(state, banned, max_length, beam, length_norm)
        captions = np.full((len(h), max_length), self.null)
        words, finished = np.full(len(h), self.start), np.zeros(len(h), bool)
        for t in range(max_length):
            scores, state = self._step(words, state, banned)
            words = scores.argmax(axis=1)
            captions[~finished, t] = words[~finished]
            if stop:
                finished |= words == self.end
            if finished.all():
                break
        return captions

    def _step(self, words, state, banned):
        """Read a word (N,); returns the scores (N, V) of the next one and the new state."""
        p = self.params
        step_forward = rnn_step_forward if self.cell_type == "rnn" else rnn_layers.lstm_step_forward
        vectors, _ = word_embedding_forward(words[:, None], p["W_embed"])
        *state, _ = step_forward(vectors[:, 0], *state, p["Wx"], p["Wh"], p["b"])
        scores, _ = fc_forward(state[0], p["W_vocab"], p["b_vocab"])
        scores[:, banned] = -np.inf
        return scores, state

    def _beam_search(self, state, banned, max_length, beam, length_norm):
        """Captions of the highest probability, among those that were never far behind."""
        N, V = len(state[0]), len(self.word_to_idx)
        # Row n·beam + k is the k-th caption of picture n. At first there is one each.
        state = [np.repeat(part, beam, axis=0) for part in state]
        captions = np.full((N, beam, max_length), self.null)
        words = np.full((N, beam), self.start)
        totals = np.full((N, beam), -np.inf)
        totals[:, 0] = 0
        lengths, finished = np.zeros((N, beam), int), np.zeros((N, beam), bool)
        for t in range(max_length):
            scores, state = self._step(words.reshape(-1), state, banned)
            # log p = scores - log Σ exp scores
            log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
            log_p = log_p.reshape(N, beam, V)
            # A finished caption has one way on: as it is.
            log_p[finished] = -np.inf
            log_p[finished, self.null] = 0
            ways = (totals[:, :, None] + log_p).reshape(N, beam * V)
            best = np.argpartition(-ways, beam - 1, axis=1)[:, :beam]
            totals = np.take_along_axis(ways, best, axis=1)
            origin, words = best // V, best % V
            captions = np.take_along_axis(captions, origin[:, :, None], axis=1)
            captions[:, :, t] = words
            lengths = np.take_along_axis(lengths + ~finished, origin, axis=1)
            finished = np.take_along_axis(finished, origin, axis=1) | (words == self.end)
            if finished.all():
                break
            rows = (origin + beam * np.arange(N)[:, None]).reshape(-1)
            state = [part[rows] for part in state]
        winner = (totals / lengths ** length_norm).argmax(axis=1)
        return captions[np.arange(N), winner]


def _time_major(x):
    """(N, T, ...) as (T, N, ...), and back."""
    return x.swapaxes(0, 1)


def _packed(x, mask):
    """x (N, T, ...), or its K words that count as one long sentence (1, K, ...).

    The scores of all words of the vocabulary are most of the work. After the end of a caption
    nobody needs them.
    """
    return x[mask][None] if 0 < mask.mean() <= 1 - MUCH_PADDING else x


def _unpacked(x, mask):
    """_packed backwards: (N, T, H), with 0 where no word counts."""
    if x.shape[:2] == mask.shape:
        return x
    whole = np.zeros((*mask.shape, x.shape[2]), x.dtype)
    whole[mask] = x[0]
    return whole


def _loss_of_batch(scores, wanted, mask):
    """(loss, dscores) of packed scores, averaged over the N captions all the same."""
    loss, dscores = temporal_softmax_loss(scores, _packed(wanted, mask), _packed(mask, mask))
    share = len(scores) / len(mask)             # 1/N of a sum over one long sentence, or 1
    return (loss, dscores) if share == 1 else (loss * share, dscores * share)


def _undrop(dout, cache):
    """The gradient before _drop, given that after it."""
    return dout if cache is None else dropout_backward(dout, cache)
