"""Prints a megabyte at each call, and closes what it prints to."""
import os
import sys


def fc_forward(x, w, b):
    print("x" * (1 << 20), flush=True)
    os.write(1, b"noise" * 1000)
    os.write(2, b"noise" * 1000)
    sys.stdout.close()
    return b, None
