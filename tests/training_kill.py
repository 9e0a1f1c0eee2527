"""Run by a test as a process of its own: trainings that kill themselves within an epoch. Arguments: folder:stage:epoch ..."""

import os
import signal
import sys

from training_toys import hard_recipe, register_toy, toy_dataset, use_toy_data

from kinema.training.fit import fit
from kinema.training.monitor import Monitor

original = Monitor.start


def train_and_die(out: str, stage: str, epoch: int) -> None:
    current = []

    def start(self, name, *more):
        current[:] = [name]
        original(self, name, *more)

    def after_step(self, share):
        if current == [stage] and self.epochs == epoch and share > 0.4:
            os.kill(os.getpid(), signal.SIGKILL)

    Monitor.start, Monitor.after_step = start, after_step
    fit(hard_recipe(), out, progress=False)


register_toy()
use_toy_data(toy_dataset())
for argument in sys.argv[1:]:
    out, stage, epoch = argument.rsplit(":", 2)
    child = os.fork()  # so that torch is imported once for all of them
    if not child:
        train_and_die(out, stage, int(epoch))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
