"""What every reader returns: a data set of clips with its classes and protocols, and the register of readers."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Literal

from kinema.clip import Clip
from kinema.errors import DataError, ProtocolError, unknown

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class Split:
    """Clip ids that train, validate and test. `classes`: labels that take part, None for all (CAD-60 per environment)."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    val: tuple[str, ...] = ()
    classes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Protocol:
    """A published way to divide a data set: one split, or several folds. `make` derives them from the clips."""

    name: str
    description: str
    make: Callable[[Sequence[Clip]], Sequence[Split]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Clips (labelled or not), the class names that labels index, protocols by name (the first is the default), and what was skipped."""

    name: str
    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    skipped: tuple[DataError, ...] = ()
    root: Path | None = None

    def __post_init__(self):
        if len(self.by_id) != len(self.clips):
            seen: set[str] = set()
            twice = next(clip.id for clip in self.clips if clip.id in seen or seen.add(clip.id))
            raise DataError(f"clip id {twice!r} occurs twice", self.root)
        for clip in self.clips:
            if clip.label is not None and not 0 <= clip.label < len(self.classes):
                raise DataError(f"clip {clip.id!r} has label {clip.label}; there are {len(self.classes)} classes", clip.source)

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def by_id(self) -> dict[str, Clip]:
        return {clip.id: clip for clip in self.clips}

    def select(self, ids: Iterable[str]) -> tuple[Clip, ...]:
        return tuple(self.by_id[clip_id] for clip_id in ids)

    def splits(self, protocol: str | None = None) -> tuple[Split, ...]:
        """The splits of a protocol (the first one unless named); `ProtocolError` if unknown or if a part would be empty."""
        if not self.protocols:
            raise ProtocolError(f"data set {self.name!r} has no protocol")
        name = protocol or next(iter(self.protocols))
        if name not in self.protocols:
            raise ProtocolError(f"data set {self.name!r}: {unknown('protocol', name, self.protocols)}")
        splits = tuple(self.protocols[name].make([clip for clip in self.clips if clip.label is not None]))
        for split in splits:
            if not split.train or not split.test:
                raise ProtocolError(
                    f"data set {self.name!r}, protocol {name!r}, split {split.name!r}: {len(split.train)} clips train and "
                    f"{len(split.test)} test; at least one of each is needed"
                )
        if not splits:
            raise ProtocolError(f"data set {self.name!r}, protocol {name!r}: no split can be made of its {len(self.clips)} clips")
        return splits

    def split(self, protocol: str | None = None, fold: str | None = None) -> Split:
        """One split of a protocol, by the fold's name; `ProtocolError` where there are several and none is named."""
        splits = {split.name: split for split in self.splits(protocol)}
        where = f"data set {self.name!r}, protocol {protocol or next(iter(self.protocols))!r}"
        if fold is not None and fold not in splits:
            raise ProtocolError(f"{where}: {unknown('fold', fold, splits)}")
        if fold is None and len(splits) > 1:
            raise ProtocolError(f"{where}: there are {len(splits)} folds; name one of {', '.join(splits)}")
        return splits[fold] if fold is not None else next(iter(splits.values()))


@dataclass(frozen=True)
class DatasetInfo:
    """What a reader's module says about its data set, as its module-level `INFO`.

    `generated`: it makes its clips and needs no folder. `folder`: what its folder under $KINEMA_DATA is called, where not by its name.
    """

    name: str
    title: str
    modalities: tuple[str, ...]
    classes: int | None
    url: str = ""
    form: str = ""
    generated: bool = False
    folder: str = ""


@lru_cache(maxsize=1)
def dataset_modules() -> dict[str, str]:
    """Data set name -> module: every module of this package but `base`, `protocols`, `audit` and those that start with `_`."""
    import kinema.datasets as package

    tools = {"base", "protocols", "audit"}
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {name.replace("_", "-"): f"{package.__name__}.{name}" for name in names if name not in tools and name[0] != "_"}


def dataset_infos() -> list[DatasetInfo]:
    return [importlib.import_module(module).INFO for module in dataset_modules().values()]


def _module(name: str) -> tuple[ModuleType, bool]:
    """The reader of a data set, and whether `name` is its own: "ucf101-9" names a part of "ucf101", in a folder of that name."""
    modules = dataset_modules()
    if name in modules:
        return importlib.import_module(modules[name]), True
    whole, _, part = name.rpartition("-")
    if part and whole in modules:
        return importlib.import_module(modules[whole]), False
    raise DataError(unknown("data set", name, modules))


def dataset_root(name: str, root: str | Path | None = None) -> Path | None:
    """The folder of a data set: `root`, or the folder of that name under $KINEMA_DATA; `DataError` where neither is given.

    None for a data set that needs no folder.
    """
    module, own = _module(name)
    info = module.INFO
    if root is not None:
        return Path(root).expanduser()
    if info.generated:
        return None
    base, folder = os.environ.get("KINEMA_DATA"), info.folder if own and info.folder else name
    if not base:
        raise DataError(f"where is data set {name!r}? Give --data.root DIR, or set KINEMA_DATA to the folder that holds {folder}/")
    return Path(base).expanduser() / folder


def read_dataset(name: str, root: str | Path | None, *, on_error: OnError = "raise", cache: bool = True, **options) -> Dataset:
    """Read a data set by name from its folder (or file); `root` is None for one that needs no folder.

    A part of a data set has a folder and a name of its own, which begins with the whole's: "ucf101-9" is read like "ucf101".
    With `on_error="skip"` clips that cannot be read are left out and listed in `skipped`. `cache=False` reads every file anew.
    Further options are the reader's own; `DataError` with the nearest name for one that it does not have.
    """
    module, own = _module(name)
    known = inspect.signature(module.read).parameters
    for option in options:
        if option not in known:
            raise DataError(f"data set {name!r}: {unknown('option', option, known.keys() - {'root', 'on_error', 'cache'})}")
    if root is not None or not module.INFO.generated:
        root = dataset_root(name, root)
        if not root.exists():
            raise DataError("no such file or folder", root)
    dataset = module.read(root, on_error=on_error, cache=cache, **options)
    return dataset if own else replace(dataset, name=name)
