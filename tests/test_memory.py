"""Data larger than the memory: arrays given as np.memmap train without being read whole."""
import os
import subprocess
import sys

import pytest

from test_scripts import ROOT

# Runs in a process that may not grow by more than 128 MB, beside a file of 256 MB. The limit is on
# private memory (RLIMIT_DATA): a file that is mapped for reading does not count, a copy does.
TRAIN = """
import resource, sys
import numpy as np
from fc_net import TwoLayerNet
from solver import Solver

N, D, MB = 512, 128 * 1024, 1 << 20
with open(sys.argv[1], "wb") as file:
    file.truncate(4 * N * D)                    # sparse: it takes no room on the disk
X = np.memmap(sys.argv[1], np.float32, "r", shape=(N, D))
y = np.arange(N) % 2
model = TwoLayerNet(D, 2, 2, rng=0)
solver = Solver(model, {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, batch_size=8,
                num_epochs=1, eval_batch_size=8, shares=int(sys.argv[2]))
with open("/proc/self/status") as file:
    used = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData"))
limit = used + 128 * MB
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
assert X.nbytes > 128 * MB
try:
    np.asarray(X) + 0
except MemoryError:
    print("a copy does not fit")
solver.train()
print(f"{len(solver.loss_history)} steps")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits private memory")
@pytest.mark.parametrize("shares", [1, 2])
def test_a_file_larger_than_the_memory_allowed_trains_as_memmap(shares, tmp_path):
    done = subprocess.run([sys.executable, "-c", TRAIN, tmp_path / "images", str(shares)],
                          capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert done.stdout == "a copy does not fit\n64 steps\n", done.stderr
