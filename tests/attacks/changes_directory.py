"""Goes elsewhere, and clears sys.path."""
import os
import sys

os.chdir("/")
sys.path.clear()


def fc_forward(x, w, b):
    os.chdir("/usr")
    return b, None
