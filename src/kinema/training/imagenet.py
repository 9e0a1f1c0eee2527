"""ImageNet weights for the ResNet in a model, `init: {bundle: FILE, arch: resnet18}`: torchvision's files, whole or in part.

`bundle: imagenet` is the publisher's file itself, fetched once into the cache folder and checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kinema._cache_folder import cache_folder
from kinema._published import check, check_file, download
from kinema._seal import digest_of
from kinema._write import write_whole
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.models.resnet import ResNet, inflated

PUBLISHED = "imagenet"
_URL = "https://download.pytorch.org/models/"
# The eight characters in a name are the first ones of the file's SHA-256. First version of the weights, as in the publications.
_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
}
ARCHITECTURES = tuple(_FILES)
_LARGEST = 400 << 20  # bytes; the largest of the files has 241 million


@dataclass(frozen=True, eq=False)
class ImageNetWeights:
    """A ResNet's weights from a file, by torchvision's names.

    Args:
        name: of the file, without its ending.
        model: resnet18, resnet34, resnet50, resnet101 or resnet152.
        state: what the file holds, perhaps only a part of the network.
    """

    name: str
    model: str
    state: Mapping[str, Tensor]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        return digest_of(self.state)

    @property
    def folded(self) -> bool:
        """Whether the norms are folded into the convolutions: all of them have mean 0 and variance 1."""
        wanted = {"running_mean": 0.0, "running_var": 1.0}
        values = [(tensor, value) for name, tensor in self.state.items() if (value := wanted.get(name.rpartition(".")[2])) is not None]
        return bool(values) and all(bool((tensor == value).all()) for tensor, value in values)

    def placed(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors under the names that they have in a model, inflated as its ResNet needs them where its kernels span time.

        Raises `RecipeError` for a model without a ResNet, or with one of another depth.
        """
        networks = {name: module for name, module in model.named_modules() if isinstance(module, ResNet)}
        if not networks:
            raise RecipeError(f"init.arch: the model has no ResNet that {self.model}'s weights could go to")
        found = {}
        for name, network in networks.items():
            ours, prefix = network.state_dict(), f"{name}." if name else ""
            stages = {_stage(key) for key in ours} & {f"layer{i}" for i in range(1, 5)}
            if any((key in ours) != (key in _names(self.model)) for key in {*ours, *_names(self.model)} if _stage(key) in stages):
                raise RecipeError(f"init.arch: the model's ResNet {name!r} is no {self.model}, whose weights are given")
            found |= {
                prefix + key: inflated(tensor, ours[key], network.centred) if key in ours else tensor for key, tensor in self.state.items()
            }
        return found


def _stage(name: str) -> str:
    return name.partition(".")[0]


@lru_cache
def _names(arch: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in ResNet(int(arch.removeprefix("resnet"))).state_dict().items()}


def read_imagenet(path: str | Path, arch: str) -> ImageNetWeights:
    """The weights in a file, or with path "imagenet" in the publisher's.

    Raises `DataError` for a file that cannot be read, or holds a tensor that the network lacks or has in another shape, or none of it.
    """
    path = fetch(arch) if str(path) == PUBLISHED else Path(path).expanduser()
    try:
        about = path.stat()
    except OSError:
        raise DataError("there is no such file", path) from None
    return _read(path, arch, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=1)  # a training asks several times; `modified` and `size` notice a file that has changed
def _read(path: Path, arch: str, modified: int, size: int) -> ImageNetWeights:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"not a readable file of PyTorch weights ({type(error).__name__})", path) from error
    wanted = _names(arch)
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) and name in wanted for name, value in state.items()):
        raise DataError(f"no weights of {arch}: a state dict with torchvision's names is expected", path)
    for name, value in state.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if name not in wanted or shape != wanted[name]:
            given, right = ("x".join(map(str, s)) if s else "nothing" for s in (shape, wanted.get(name)))
            raise DataError(f"{name} is {given}; {arch} has {right} there", path)
    return ImageNetWeights(path.stem, arch, state)


def fetch(arch: str) -> Path:
    """The publisher's file of a ResNet's weights: from the cache folder, else downloaded into it and checked by its checksum.

    Raises `KinemaError` naming the file where it can neither be found nor downloaded.
    """
    name = _FILES[arch]
    folder = cache_folder()
    places = [Path(torch.hub.get_dir()) / "checkpoints" / name]  # where torchvision keeps it
    places += [folder / "imagenet" / name] if folder is not None else []
    wanted = name.rpartition("-")[2].partition(".")[0]
    for place in places:
        if place.is_file():
            return check_file(place, wanted, name)
    try:
        data = download(_URL + name, _LARGEST)
    except OSError as error:
        raise KinemaError(
            f"init.bundle: {PUBLISHED}: {_URL}{name} cannot be fetched ({error}); put the file at {places[-1]}, or name it as init.bundle"
        ) from error
    check(data, wanted, name, _URL + name)
    if folder is None:
        raise KinemaError(f"init.bundle: {PUBLISHED}: there is no cache folder to keep {name} in; set KINEMA_CACHE to one")
    return write_whole(places[-1], data)
