import numpy as np
from layers import *


class TwoLayerNet(object):
    def __init__(self, input_dim=28*28, hidden_dim=100, num_classes=10, weight_scale=1e-3, reg=0.0):
        self.params = {}
        self.reg = reg
        self.params['W1'] = np.random.normal(0, weight_scale, (input_dim, hidden_dim))
        self.params['W2'] = np.random.normal(0, weight_scale, (hidden_dim, num_classes))
        self.params['b1'] = np.zeros((hidden_dim,))
        self.params['b2'] = np.zeros((num_classes,))

    def loss(self, X, y=None):
        scores = None
        a1, c1 = fc_forward(X, self.params['W1'], self.params['b1'])
        r1, c2 = relu_forward(a1)
        scores, c3 = fc_forward(r1, self.params['W2'], self.params['b2'])

        # If y is None then we are in test mode so just return scores
        if y is None:
            return scores

        loss, grads = 0, {}
        loss, dscores = softmax_loss(scores, y)
        dr1, grads['W2'], grads['b2'] = fc_backward(dscores, c3)
        da1 = relu_backward(dr1, c2)
        dx, grads['W1'], grads['b1'] = fc_backward(da1, c1)
        loss += 0.5 * self.reg * (np.sum(self.params['W1']**2) + np.sum(self.params['W2']**2))
        grads['W1'] += self.reg * self.params['W1']
        grads['W2'] += self.reg * self.params['W2']
        return loss, grads
