import numpy as np

from rnn_layers import *


class CaptioningRNN(object):
    """h0 from the picture, words from the caption so far."""

    def __init__(self, word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128, cell_type='rnn',
                 dtype=np.float32):
        if cell_type not in {'rnn', 'lstm'}:
            raise ValueError('Invalid cell_type "%s"' % cell_type)
        V = len(word_to_idx)
        self.dtype = dtype
        self._null = word_to_idx['<NULL>']
        self._start = word_to_idx.get('<START>', None)
        H = hidden_dim
        sizes = {'W_embed': (V, wordvec_dim), 'W_proj': (input_dim, H), 'b_proj': (H,),
                 'Wx': (wordvec_dim, H), 'Wh': (H, H), 'b': (H,),
                 'W_vocab': (H, V), 'b_vocab': (V,)}
        self.params = {}
        for name, size in sizes.items():
            if len(size) == 2:
                self.params[name] = (np.random.randn(*size) / np.sqrt(size[0])).astype(dtype)
            else:
                self.params[name] = np.zeros(size, dtype=dtype)

    def loss(self, features, captions):
        Win, Wout = captions[:, :-1], captions[:, 1:]
        mask = Wout != self._null
        h0, c0 = fc_forward(features, self.params['W_proj'], self.params['b_proj'])
        words, c1 = word_embedding_forward(Win, self.params['W_embed'])
        words = np.swapaxes(words, 0, 1)
        h, c2 = rnn_forward(words, h0, self.params['Wx'], self.params['Wh'], self.params['b'])
        h = np.swapaxes(h, 0, 1)
        scores, c3 = temporal_fc_forward(h, self.params['W_vocab'], self.params['b_vocab'])
        loss, dscores = temporal_softmax_loss(scores, Wout, mask)

        grads = {}
        dh, grads['W_vocab'], grads['b_vocab'] = temporal_fc_backward(dscores, c3)
        dh = np.swapaxes(dh, 0, 1)
        dwords, dh0, grads['Wx'], grads['Wh'], grads['b'] = rnn_backward(dh, c2)
        dwords = np.swapaxes(dwords, 0, 1)
        grads['W_embed'] = word_embedding_backward(dwords, c1)
        dfeatures, grads['W_proj'], grads['b_proj'] = fc_backward(dh0, c0)
        return loss, grads
