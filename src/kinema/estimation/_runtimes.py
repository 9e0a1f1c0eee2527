"""The engines that run published networks: ONNX Runtime and LiteRT. Both are optional; what lacks says how to get it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinema._cores import cores
from kinema.errors import DataError, KinemaError

_LARGEST = 1 << 30  # bytes of a model's file


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"has more than {_LARGEST >> 20} MB; no such model does", path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"the model cannot be read: {error.strerror or error}", path) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what a library writes to the standard error itself: LiteRT greets everybody there."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class OnnxModel:
    """A network in an ONNX file, on the GPU where ONNX Runtime has one (`device` "auto" or "cuda"), else on the processor."""

    def __init__(self, path: Path, threads: int | None = None, device: str = "auto"):
        try:
            import onnxruntime
        except ImportError as error:
            raise KinemaError('ONNX Runtime is not installed: pip install "kinema[pose]"') from error
        content, self.path = _content(path), path
        gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if device == "cuda" and not gpu:
            raise KinemaError("this ONNX Runtime knows no CUDA device: pip install onnxruntime-gpu, or leave the device to it")
        if device not in ("auto", "cpu", "cuda"):
            raise KinemaError(f"device {device!r} is none of auto, cpu, cuda")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or cores(), 1
        options.log_severity_level = 3
        providers = ["CUDAExecutionProvider"] * (gpu and device != "cpu") + ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # whatever a damaged file makes of it
            raise DataError(f"is no whole ONNX model: {' '.join(str(error).split())[:120]}", path) from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise DataError("is a model of another kind: one input of images is expected", path)
        self._input = inputs[0].name
        self.shape: list[Any] = inputs[0].shape  # (N, 3, H, W); text or None where it is free

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """All outputs for (N, 3, H, W) float32."""
        try:
            return self._session.run(None, {self._input: images})
        except Exception as error:
            raise DataError(f"the model cannot be run: {' '.join(str(error).split())[:120]}", self.path) from error


class LiteModel:
    """A network in a .tflite file that takes one image. `height`, `width`, `dtype`: of the image. Threads wait for each other."""

    def __init__(self, path: Path, threads: int | None = None):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise KinemaError('LiteRT is not installed: pip install "kinema[pose]"') from error
        content, self.path = _content(path), path
        try:
            with _quiet():
                self._interpreter = Interpreter(model_content=content, num_threads=threads or cores())
                self._interpreter.allocate_tensors()
        except Exception as error:  # whatever a damaged file makes of it
            raise DataError(f"is no whole LiteRT model: {' '.join(str(error).split())[:120]}", path) from error
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4 or inputs[0]["shape"][3] != 3:
            raise DataError("is a model of another kind: one image of three colours is expected", path)
        self._input, self.dtype = inputs[0]["index"], inputs[0]["dtype"]
        self.height, self.width = map(int, inputs[0]["shape"][1:3])
        self._outputs = self._interpreter.get_output_details()
        self._lock = threading.Lock()

    def output(self, name: str, *shape: int) -> int:
        """The index of an output, by its name or else by its shape; `DataError` where the model has none."""
        for same in (lambda out: out["name"] == name, lambda out: tuple(out["shape"]) == shape):
            for index, out in enumerate(self._outputs):
                if same(out) and int(np.prod(out["shape"])) == int(np.prod(shape)):
                    return index
        raise DataError(f"is a model of another kind: it has no output {name} of {' x '.join(map(str, shape))}", self.path)

    def run(self, image: np.ndarray, *outputs: int) -> list[np.ndarray]:
        """The outputs of these indices for one image, (H, W, 3) of the model's type."""
        with self._lock:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(self._outputs[index]["index"]) for index in outputs]
