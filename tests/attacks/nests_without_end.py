"""Returns a list that holds itself, and a name without end."""
def fc_forward(x, w, b):
    kept = []
    kept.append(kept)
    return type("N" * 10**6, (list,), {})([kept] * 10**5), None
