"""Returns more than there is memory for."""
import numpy as np


def fc_forward(x, w, b):
    return np.broadcast_to(0.5, (1 << 20, 1 << 20)), None
