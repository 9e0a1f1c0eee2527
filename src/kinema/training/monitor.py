"""What is seen of a training run: a progress line, log.csv and TensorBoard's curves."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kinema._write import write_whole
from kinema.errors import KinemaError
from kinema.training.recipe import Recipe

if TYPE_CHECKING:
    from kinema.training.loop import History

COLUMNS = ("stage", "epoch", "lr", "train_loss", "train_top1", "val_loss", "val_top1", "seconds")
LINES = 20  # progress lines of a stage where there is no terminal


class Monitor:
    """Follows a run: `start` of a stage, `after_step`, `after_epoch`. `enabled` shows progress on stderr, `writes` keeps the logs."""

    def __init__(self, out: Path, recipe: Recipe, enabled: bool, writes: bool):
        self.out, self.recipe, self.enabled, self.writes = out, recipe, enabled, writes
        self.epochs = 0
        self._total = 0
        self._open = ExitStack()
        self._bar = self._task = self._curves = None

    def __enter__(self) -> Monitor:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if self.enabled and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(),
            )
            self._bar = self._open.enter_context(Progress(*columns, console=console))
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self.enabled:
            print(text, file=sys.stderr)

    def start(self, name: str, epochs: int, histories: Sequence[History]) -> None:
        """A stage of `epochs` epochs begins, or goes on after those that the last history holds."""
        from torch.utils.tensorboard import SummaryWriter

        self.epochs = histories[-1].epochs
        self._total = epochs
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=epochs, completed=self.epochs, state="")
        if self.writes and self._curves is None:
            done = sum(history.epochs for history in histories)
            self._curves = SummaryWriter(str(self.out / "tensorboard"), purge_step=done + 1)
            self._open.callback(self._close_curves)

    def _close_curves(self) -> None:
        with suppress(OSError):  # told when the epoch was written
            self._curves.close()

    def after_step(self, share: float) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.epochs + share)

    def after_epoch(self, name: str, histories: Sequence[History]) -> None:
        """The last row of the last history is new."""
        rows = histories[-1].rows
        row, self.epochs = rows[-1], len(rows)
        state = f"loss {row['train_loss']:.3f}, train {100 * row['train_top1']:.1f} %"
        if "val_top1" in row:
            best = max(earlier["val_top1"] for earlier in rows)
            tested = "test" if self.recipe.fit.selection == "paper" else "validation"
            state += f", {tested} {100 * row['val_top1']:.1f} % (best {100 * best:.1f})"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.epochs, state=state)
        elif self.epochs % max(1, self._total // LINES) == 0 or self.epochs == self._total:
            self.say(f"{name} epoch {self.epochs}/{self._total}: {state}")
        if self.writes:
            self._write(histories)

    def _write(self, histories: Sequence[History]) -> None:
        """The whole log anew: it is short, and so it never holds an epoch that a resumed run repeats."""
        names = ("train", "refit")
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for name, history in zip(names, histories, strict=False):
            writer.writerows({"stage": name, **row} for row in history.rows)
        write_whole(self.out / "log.csv", table.getvalue().encode())
        step = sum(history.epochs for history in histories)
        try:
            for key, value in histories[-1].rows[-1].items():
                if key != "epoch":
                    self._curves.add_scalar(key.replace("_", "/"), value, step)
            self._curves.flush()
        except OSError as error:
            raise KinemaError(f"{self.out / 'tensorboard'}: cannot be written: {error.strerror or error}") from error
