"""A recurrent network that describes pictures, trained on captions and sampled word by word."""
import numpy as np

from layers import (as_float_array, as_indices, check_options, checked_sizes, empty, fc_backward,
                    fc_forward, initial_weights, is_number, multiply, random_generator, total,
                    zeros)
from rnn_layers import (inplace_lstm_cell, lstm_backward, lstm_forward, rnn_backward, rnn_forward,
                        temporal_softmax_loss, word_embedding_backward, word_embedding_forward)

WEIGHTS = "W_proj", "W_embed", "Wx", "Wh", "W_vocab"


class CaptioningRNN:
    """A recurrent network whose first hidden state is made from a picture's features.

        h_0 = features·W_proj + b_proj
        h_t = cell(W_embed[word_t], h_{t-1})        the words are read from <START> on
        scores_t = h_t·W_vocab + b_vocab            of the next word, up to <END>

    `params` maps names to arrays, with D = input_dim, W = wordvec_dim, H = hidden_dim, V
    words, and G = 1 for the plain cell, 4 for the LSTM: W_proj (D, H), b_proj (H,);
    W_embed (V, W); Wx (W, G·H), Wh (H, G·H), b (G·H,); W_vocab (H, V), b_vocab (V,).

    Args:
        word_to_idx: dict of the vocabulary, whose ids are 0 to V - 1. <NULL> (padding),
            <START> and <END> must be there; <UNK> (any other word) may be.
        input_dim, wordvec_dim, hidden_dim: sizes
        cell_type: 'rnn' or 'lstm'
        weight_scale: standard deviation of all initial weights; None takes
            1/√(inputs of the layer), and 1 for the word vectors. Biases start at 0, those of
            the LSTM's forget gates at 1: at first a cell is to keep what it holds (Jozefowicz
            et al., "An empirical exploration of recurrent network architectures", 2015).
        reg: strength of the L2 penalty ½·reg·Σ W² on all weights, but not the biases
        dropout: share of the word vectors' and the hidden states' numbers that loss()
            sets to 0, dividing the others by 1 - dropout
        feature_dropout: the same for the features
        dtype: of the parameters; features are converted to it
        rng: numpy.random.Generator or a seed, for the initial weights and for dropout
    Raises ValueError for what is impossible.
    """

    def __init__(self, word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128,
                 cell_type="rnn", *, weight_scale=None, reg=0.0, dropout=0.0,
                 feature_dropout=0.0, dtype=np.float32, rng=None):
        if not isinstance(word_to_idx, dict):
            raise ValueError(f"CaptioningRNN: word_to_idx expects a dict, "
                             f"got {type(word_to_idx).__name__}")
        V = len(word_to_idx)
        ids = list(word_to_idx.values())
        if not all(isinstance(i, (int, np.integer)) for i in ids) or set(ids) != set(range(V)):
            raise ValueError(f"CaptioningRNN: word_to_idx expects the ids 0 to {V - 1}, each once")
        for word in ("<NULL>", "<START>", "<END>"):
            if word not in word_to_idx:
                raise ValueError(f"CaptioningRNN: word_to_idx expects the word {word}")
        input_dim, wordvec_dim, hidden_dim = checked_sizes(
            "CaptioningRNN", input_dim=input_dim, wordvec_dim=wordvec_dim, hidden_dim=hidden_dim)
        if cell_type not in ("rnn", "lstm"):
            raise ValueError(f"CaptioningRNN: cell_type expects 'rnn' or 'lstm', "
                             f"got {cell_type!r}")
        self.reg, self.dtype = check_options("CaptioningRNN", reg, dtype)
        self.dropout = _share("dropout", dropout)
        self.feature_dropout = _share("feature_dropout", feature_dropout)
        self.word_to_idx = dict(word_to_idx)
        self.input_dim, self.hidden_dim, self.cell_type = input_dim, hidden_dim, cell_type
        self.null, self.start, self.end = (word_to_idx[w] for w in ("<NULL>", "<START>", "<END>"))
        self.rng = random_generator("CaptioningRNN", rng)
        self._forward, self._backward, gates = {
            "rnn": (rnn_forward, rnn_backward, 1), "lstm": (lstm_forward, lstm_backward, 4),
        }[cell_type]

        def weights(inputs, *shape):
            scale = 1 / np.sqrt(inputs) if weight_scale is None else weight_scale
            return initial_weights(self.rng, shape, inputs, scale, self.dtype)

        D, W, H = input_dim, wordvec_dim, hidden_dim
        self.params = {
            "W_proj": weights(D, D, H), "b_proj": np.zeros(H, self.dtype),
            "W_embed": weights(1, V, W),
            "Wx": weights(W, W, gates * H), "Wh": weights(H, H, gates * H),
            "b": np.zeros(gates * H, self.dtype),
            "W_vocab": weights(H, H, V), "b_vocab": np.zeros(V, self.dtype),
        }
        if cell_type == "lstm":
            self.params["b"][H:2 * H] = 1       # see rnn_layers.py for the order of the gates

    # ------------------------------------------------------------ training

    def loss(self, features, captions):
        """The loss of a batch of captions, and its gradients. Dropout is at work.

            loss = -1/N Σ_n Σ_t log p(word t + 1 of caption n | its words up to t)

        over the words up to <END>: positions whose next word is <NULL> do not count.

        Args:
            features: (N, input_dim)
            captions: (N, T) integer word ids: <START>, the words, <END>, then <NULL>
        Returns (loss, grads) with the keys of params.
        Raises ValueError where the sizes do not fit or an id is none.
        """
        features, read, counted, wanted = self._batch(features, captions)
        if len(counted):
            loss, grads = self._loss_of_words(features, read, counted, wanted)
        else:
            loss = self.dtype.type(0)
            grads = {name: np.zeros_like(value) for name, value in self.params.items()}
        if self.reg:
            # L += ½·reg·ΣW²  ⇒  dW += reg·W   (docs/derivations.md, "Weight decay")
            for name in WEIGHTS:
                loss += 0.5 * self.reg * np.vdot(self.params[name], self.params[name])
                grads[name] += self.reg * self.params[name]
        return loss, grads

    def total_loss(self, features, captions):
        """(loss summed over all words that count, their number): no dropout, no penalty.

        Args and errors as for loss().
        """
        features, read, counted, wanted = self._batch(features, captions)
        if not len(counted):
            return 0.0, 0
        p = self.params
        h0, _ = fc_forward(features, p["W_proj"], p["b_proj"])
        vectors, _ = word_embedding_forward(read, p["W_embed"])
        h, _ = self._forward(vectors, h0, p["Wx"], p["Wh"], p["b"])
        scores, _ = fc_forward(_rows_at(h, counted), p["W_vocab"], p["b_vocab"])
        return float(_loss_of_rows(scores, wanted, 1)[0]), len(counted)

    def _batch(self, features, captions):
        """(features, read, counted, wanted): what goes in and what is to come out.

        read (T - 1, N) are the words that are read, time-major. Of its T - 1 · N places,
        numbered row by row, those in counted (K,) have a next word, wanted (K,).
        """
        features = as_float_array("CaptioningRNN", "features", features, ndim=2)
        if features.shape[1] != self.input_dim:
            raise ValueError(f"CaptioningRNN: features expects {self.input_dim} columns, "
                             f"got shape {features.shape}")
        captions = as_indices("CaptioningRNN", "captions", captions, None, len(self.word_to_idx))
        if captions.ndim != 2 or len(captions) != len(features) or captions.shape[1] < 2:
            raise ValueError(f"CaptioningRNN: captions expects a row of 2 or more words for each "
                             f"of the {len(features)} rows of features, got shape "
                             f"{captions.shape}")
        next_words = captions.T[1:].reshape(-1)
        counted = np.flatnonzero(next_words != self.null)
        return (features.astype(self.dtype, copy=False), captions.T[:-1], counted,
                next_words[counted])

    def _loss_of_words(self, features, read, counted, wanted):
        """(loss, grads) without the penalty; see _batch for the arguments."""
        p = self.params
        features, _ = self._drop(features, self.feature_dropout)
        h0, cache_proj = fc_forward(features, p["W_proj"], p["b_proj"])
        vectors, cache_embed = word_embedding_forward(read, p["W_embed"])
        vectors, vectors_kept = self._drop(vectors, self.dropout)
        h, cache_cell = self._forward(vectors, h0, p["Wx"], p["Wh"], p["b"])
        # A third of all places is padding: only those that count are scored.
        rows, rows_kept = self._drop(_rows_at(h, counted), self.dropout)
        scores, cache_vocab = fc_forward(rows, p["W_vocab"], p["b_vocab"])

        loss, dscores = _loss_of_rows(scores, wanted, len(features))
        drows, dW_vocab, db_vocab = fc_backward(dscores, cache_vocab)
        dh = zeros(h.shape, h.dtype)
        dh.reshape(-1, h.shape[2])[counted] = _undrop(drows, rows_kept)
        dvectors, dh0, dWx, dWh, db = self._backward(dh, cache_cell)
        dW_embed = word_embedding_backward(_undrop(dvectors, vectors_kept), cache_embed)
        _, dW_proj, db_proj = fc_backward(dh0, cache_proj, needs_dx=False)
        return loss, {"W_proj": dW_proj, "b_proj": db_proj, "W_embed": dW_embed,
                      "Wx": dWx, "Wh": dWh, "b": db, "W_vocab": dW_vocab, "b_vocab": db_vocab}

    def _drop(self, x, share):
        """(x with this share of its numbers dropped, what each was multiplied by, or None)."""
        if not share:
            return x, None
        kept = (self.rng.random(x.shape, dtype=np.float32) >= share).astype(x.dtype)
        kept /= 1 - share
        return x * kept, kept

    # ------------------------------------------------------------ sampling

    def sample(self, features, max_length=30, *, beam=1, length_norm=0.0, temperature=0.0,
               rng=None, allow_unknown=False):
        """Write a caption for each picture.

        By default each word is the likeliest given those before it (greedy).

        Args:
            features: (N, input_dim)
            max_length: of a caption, <END> included
            beam: so many captions are kept for each picture, the likeliest at every
                length, finished ones among them, and the likeliest at the end is taken
            length_norm: a caption's log-probability is divided by its length to this
                power before they are compared at the end; 0 favours short captions
            temperature: above 0, words are drawn with probability ∝ p^(1 / temperature)
            rng: numpy.random.Generator or a seed, for drawing
            allow_unknown: whether <UNK> may be written
        Returns (N, max_length) integer word ids: no <START>, the words, <END> if it was
        reached, then <NULL>. <START> and <NULL> are never chosen: the probabilities
        are those of the other words.
        Raises ValueError where the sizes do not fit, features are not finite or options
        exclude each other.
        """
        features = as_float_array("CaptioningRNN.sample", "features", features, ndim=2)
        if features.shape[1] != self.input_dim:
            raise ValueError(f"CaptioningRNN.sample: features expects {self.input_dim} columns, "
                             f"got shape {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("CaptioningRNN.sample: features expects finite numbers, got NaN or "
                             "infinity")
        max_length, beam = checked_sizes("CaptioningRNN.sample", max_length=max_length, beam=beam)
        for name, value in (("temperature", temperature), ("length_norm", length_norm)):
            if not is_number(value, least=0):
                raise ValueError(f"CaptioningRNN.sample: {name} expects a number of at least 0, "
                                 f"got {value!r}")
        if beam > 1 and temperature:
            raise ValueError("CaptioningRNN.sample: beam search draws nothing: "
                             "give either beam or temperature")
        writer = _Writer(self, features.astype(self.dtype, copy=False), allow_unknown)
        if beam > 1:
            return self._beam_search(writer, len(features), max_length, beam, length_norm)
        if not temperature:
            return self._write(writer, len(features), max_length,
                               lambda scores: scores.argmax(axis=1))
        rng = random_generator("CaptioningRNN.sample", rng)

        def draw(scores):
            # The largest of score + Gumbel noise is a draw from softmax(scores). Where the
            # temperature is tiny, 0 stays the best; where it is huge, -inf stays impossible.
            scores = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
            with np.errstate(over="ignore"):
                scores /= temperature
            return (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)

        return self._write(writer, len(features), max_length, draw)

    def _write(self, writer, N, max_length, choose):
        """Captions word by word; choose(scores (K, V)) -> words (K,)."""
        captions = np.full((N, max_length), self.null)
        unfinished = np.arange(N)
        words = np.full(N, self.start)
        for t in range(max_length):
            words = choose(writer.scores_after(words))
            captions[unfinished, t] = words
            going_on = words != self.end
            if not going_on.all():
                unfinished, words = unfinished[going_on], words[going_on]
                writer.keep(going_on)
                if not len(unfinished):
                    break
        return captions

    def _beam_search(self, writer, N, max_length, beam, length_norm):
        """Captions of the highest probability, among those that were never far behind."""
        V = len(self.word_to_idx)
        # Row n·beam + k is the k-th caption of picture n. At first there is but one each.
        writer.keep(np.repeat(np.arange(N), beam))
        captions = np.full((N, beam, max_length), self.null)
        words = np.full((N, beam), self.start)
        totals = np.full((N, beam), -np.inf)
        totals[:, 0] = 0
        lengths = np.zeros((N, beam), int)
        finished = np.zeros((N, beam), bool)
        for t in range(max_length):
            log_p = _log_softmax(writer.scores_after(words.reshape(-1))).reshape(N, beam, V)
            # A finished caption has one way on: as it is.
            log_p[finished] = -np.inf
            log_p[finished, self.null] = 0
            ways = (totals[:, :, None] + log_p).reshape(N, beam * V)
            if beam < ways.shape[1]:
                best = np.argpartition(-ways, beam - 1, axis=1)[:, :beam]
            else:
                best = np.arange(N * beam).reshape(N, beam) % ways.shape[1]
            totals = np.take_along_axis(ways, best, axis=1)
            origin, words = best // V, best % V
            captions = np.take_along_axis(captions, origin[:, :, None], axis=1)
            captions[:, :, t] = words
            lengths = np.take_along_axis(lengths + ~finished, origin, axis=1)
            finished = np.take_along_axis(finished, origin, axis=1) | (words == self.end)
            if finished.all():
                break
            writer.keep((origin + beam * np.arange(N)[:, None]).reshape(-1))
        winner = (totals / lengths ** length_norm).argmax(axis=1)
        return captions[np.arange(N), winner]


class _Writer:
    """The network at work on captions that are being written, one row of state for each."""

    def __init__(self, model, features, allow_unknown):
        p = model.params
        self.h = fc_forward(features, p["W_proj"], p["b_proj"])[0]
        self.c = np.zeros_like(self.h) if model.cell_type == "lstm" else None
        # Each word's contribution to the cell's sum, once for all time steps.
        self.of_word = multiply(p["W_embed"], p["Wx"])
        self.of_word += p["b"]
        self.Wh, self.W_vocab = p["Wh"], p["W_vocab"]
        self.b_vocab = p["b_vocab"].copy()
        self.b_vocab[[model.null, model.start]] = -np.inf
        if not allow_unknown and "<UNK>" in model.word_to_idx:
            self.b_vocab[model.word_to_idx["<UNK>"]] = -np.inf

    def scores_after(self, words):
        """Read a word (K,) in each row; returns the scores (K, V) of the next."""
        a = multiply(self.h, self.Wh)
        a += self.of_word[words]
        if self.c is None:
            self.h = np.tanh(a, out=a)
        else:
            self.h, self.c, _ = inplace_lstm_cell(a, self.c)
        scores = multiply(self.h, self.W_vocab)
        scores += self.b_vocab
        return scores

    def keep(self, rows):
        """Go on with these rows (an index or a mask), in this order."""
        self.h = self.h[rows]
        self.c = None if self.c is None else self.c[rows]


def _log_softmax(scores):
    """Log-probabilities of each row of (K, V) scores; -inf stays -inf."""
    scores = scores - scores.max(axis=1, keepdims=True)
    scores -= np.log(total(np.exp(scores), axis=1, keepdims=True))
    return scores


def _undrop(dout, kept):
    """The gradient before _drop, given that after it: out = x ⊙ kept  ⇒  dx = dout ⊙ kept.

    Derived in docs/derivations.md, "Dropout".
    """
    return dout if kept is None else dout * kept


def _rows_at(h, places):
    """The rows of h (T, N, H) at these places of T·N."""
    rows = empty((len(places), h.shape[2]), h.dtype)
    return np.take(h.reshape(-1, h.shape[2]), places, axis=0, out=rows, mode="clip")


def _loss_of_rows(scores, words, divisor):
    """Cross-entropy summed over all rows and divided, and its gradient.

    The K rows count as one long sentence of temporal_softmax_loss.
    """
    loss, dscores = temporal_softmax_loss(scores[None], words[None], np.ones((1, len(words))))
    dscores /= divisor
    return loss / scores.dtype.type(divisor), dscores[0]


def _share(name, value):
    """`value` as a float in [0, 1), or ValueError."""
    if not is_number(value, least=0) or value >= 1:
        raise ValueError(f"CaptioningRNN: {name} expects a number from 0 to below 1, "
                         f"got {value!r}")
    return float(value)
