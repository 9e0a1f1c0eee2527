"""One safetensors file of weights and a JSON object, under a digest of all of its bytes: the form of every bundle's file.

The object stands in the header under the metadata key `kinema`. Its text begins with a SHA-256 digest of the whole file, with the digest's
own 64 characters read as zeros.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kinema.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 1
_MAX_HEADER = 32 << 20
_NO_DIGEST = "0" * 64


def seal(name: str, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> tuple[bytes, str]:
    """A file's bytes with their digest in them, and the digest. `name`: of the bundle, for errors."""
    import torch
    from safetensors.torch import save as to_bytes

    state = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise BundleError(f"bundle {name!r}: its weights are not finite numbers (in {key})")
    try:
        text = json.dumps({"sha256": _NO_DIGEST, "format": _FORMAT, **about}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"bundle {name!r}: JSON cannot hold its settings: {error}") from error
    data = to_bytes(state, {"kinema": text})
    at = _digest_at(data, 8 + int.from_bytes(data[:8], "little"))
    digest = hashlib.sha256(data).hexdigest()
    return data[:at] + digest.encode() + data[at + 64 :], digest


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, forms and values of weights, in hexadecimal."""
    from safetensors.torch import save as to_bytes

    return hashlib.sha256(to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})).hexdigest()


def unseal(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """What `seal` was given: the metadata, not yet looked at, the tensors, and the digest; `BundleError` for any changed byte."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= header <= min(_MAX_HEADER, len(data) - 8):
        raise BundleError("truncated, or not a bundle")
    at = _digest_at(data, 8 + header)
    digest = data[at : at + 64]
    expected = hashlib.sha256(data[:at])
    expected.update(_NO_DIGEST.encode())
    expected.update(memoryview(data)[at + 64 :])
    if digest != expected.hexdigest().encode():
        raise BundleError("damaged: its bytes have changed since it was written")
    try:
        about = json.loads(json.loads(data[8 : 8 + header])["__metadata__"]["kinema"], parse_constant=_no_constant)
        state = from_bytes(data)
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"not a bundle: {error}") from error
    if not isinstance(about, dict):
        raise BundleError("the bundle's metadata is not a mapping")
    if about.pop("format", None) != _FORMAT:
        raise BundleError("written in a form that this version of Kinema does not know")
    del about["sha256"]
    return about, state, digest.decode()


def _digest_at(data: bytes, end: int) -> int:
    """Where the digest's 64 characters are: the JSON text in the header begins with them."""
    start = b'"kinema":"{\\"sha256\\": \\"'
    at = data.find(start, 8, end)
    if at < 0 or at + len(start) + 64 > end:
        raise BundleError("damaged, or not a bundle")
    return at + len(start)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} in the metadata")
