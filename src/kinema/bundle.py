"""The bundle: everything that recognition needs, in one file that can be handed on without running anybody's code.

A bundle file is a safetensors file: the weights, and under the metadata key `kinema` one JSON object with the model's name
and settings, class names, preparation of the input, recipe and measured result. The JSON begins with a SHA-256 digest of
the whole file (with the digest's own 64 characters read as zeros), so a changed byte anywhere, header included, is found
before anything in the file is used. The digest guards against damage, not against forgery: a bundle by a stranger holds
numbers and text only, is checked field by field, and its weights must fit the model that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema._seal import seal, unseal
from kinema._settings import is_int, is_number, settings_of
from kinema._write import write_whole
from kinema.calibration import Calibration
from kinema.clip import Unit
from kinema.errors import BundleError, KinemaError, unknown
from kinema.hierarchy import Hierarchy
from kinema.layout import get_layout
from kinema.pruned import Pruned
from kinema.shape import PoseShape, Shape, Shapes
from kinema.transforms.config import PoseInput, channels_of
from kinema.transforms.depth_config import DepthInput
from kinema.transforms.inertial_config import InertialInput
from kinema.transforms.video_config import VideoInput

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"
_MAX_FILE = 4 << 30
_INPUTS: dict[str, type] = {"input": PoseInput, "depth": DepthInput, "inertial": InertialInput, "video": VideoInput}
_OPTIONAL = {"calibration": Calibration, "hierarchy": Hierarchy, "pruned": Pruned}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with all that is needed to use it.

    Args:
        name: short name of the bundle.
        model: registered name of the model (see `kinema models`).
        config: settings of the model's config dataclass that differ from its defaults.
        classes: K class names, in the order of the logits.
        input: how clips become the model's input.
        channels: C of that input, all streams together; points have `dims` = channels / streams coordinates. 0 for a model that takes
            no skeletons.
        state: parameters and buffers by name.
        recipe: the recipe that made it.
        result: what was measured with these weights, and on what.
        notes: one or two lines for whoever uses it.
        views: test-time views whose probabilities are averaged.
        fps: frames per second of the clips that it was trained on.
        seconds: median length in seconds of one training sample; 0 where it is not known.
        unit: unit of the points that it was trained on: "m" (millimetres are converted), "px" or "norm".
        depth: how depth images become the model's input; None for a model that takes none.
        inertial: how signals of worn sensors become the model's input; None for a model that takes none.
        video: how videos become the model's input; None for a model that takes none.
        calibration: what makes its probabilities mean what they say, and knows the unknown; None where nobody has fitted it.
        hierarchy: superclasses of its classes, in the same order; None where it was trained without.
        pruned: which filters were taken out; where `pruned.compact`, the weights are those of the compact network. None for a whole one.

    Raises `BundleError` for a field that is not what it should be.
    """

    name: str
    model: str
    config: dict[str, Any]
    classes: tuple[str, ...]
    input: PoseInput
    channels: int
    state: Mapping[str, Tensor] = field(repr=False)
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)
    result: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: str = ""
    views: int = 1
    fps: float = 30.0
    seconds: float = 0.0
    unit: Unit = "m"
    depth: DepthInput | None = None
    inertial: InertialInput | None = None
    video: VideoInput | None = None
    calibration: Calibration | None = None
    hierarchy: Hierarchy | None = None
    pruned: Pruned | None = None

    def __post_init__(self):
        for name in ("name", "model", "notes"):
            _expect(isinstance(getattr(self, name), str), f"the bundle's {name} is not text")
        _expect(bool(self.name and self.model), "the bundle's name or model is empty")
        for name in ("config", "recipe", "result"):
            _expect(isinstance(getattr(self, name), dict), f"the bundle's {name} is not a mapping")
        _expect(
            isinstance(self.classes, (list, tuple)) and all(isinstance(label, str) for label in self.classes),
            "the bundle's classes are not text",
        )
        object.__setattr__(self, "classes", tuple(self.classes))
        _expect(len(self.classes) > 0 and len(set(self.classes)) == len(self.classes), "the bundle's classes are none, or one occurs twice")
        _expect(isinstance(self.input, PoseInput), "the bundle's input is no PoseInput")
        known = [channels_of(self.input.streams, dims) for dims in (2, 3)]
        _expect(
            is_int(self.channels) and (self.channels in known or (self.channels == 0 and bool(self.modalities))),
            f"the bundle has {self.channels} channels for {len(self.input.streams)} streams; 2 or 3 a stream are expected",
        )
        _expect(self.depth is None or isinstance(self.depth, DepthInput), "the bundle's depth is no DepthInput")
        _expect(self.inertial is None or isinstance(self.inertial, InertialInput), "the bundle's inertial is no InertialInput")
        _expect(self.video is None or isinstance(self.video, VideoInput), "the bundle's video is no VideoInput")
        _expect(self.calibration is None or isinstance(self.calibration, Calibration), "the bundle's calibration is no Calibration")
        _expect(
            self.hierarchy is None or (isinstance(self.hierarchy, Hierarchy) and self.hierarchy.classes == self.classes),
            "the bundle's hierarchy is no Hierarchy of its classes",
        )
        _expect(self.pruned is None or isinstance(self.pruned, Pruned), "the bundle's pruned is no Pruned")
        _expect(is_int(self.views) and 1 <= self.views <= 1000, f"views is {self.views}; 1 to 1000 are expected")
        _expect(is_number(self.fps) and self.fps > 0, f"fps is {self.fps}; a positive number is expected")
        _expect(is_number(self.seconds) and self.seconds >= 0, f"seconds is {self.seconds}; 0 or a positive number is expected")
        _expect(self.unit in ("m", "px", "norm"), f"unit {self.unit!r} is not one of m, px, norm")

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it takes: some of "pose", "depth", "inertial", "video", in this order."""
        given = {name: getattr(self, name) is not None for name in _INPUTS if name != "input"}
        given = {"pose": self.channels > 0, **given}
        return tuple(name for name, taken in given.items() if taken)

    @property
    def dims(self) -> int:
        """Coordinates of a point: 2 or 3; 0 for a bundle without skeletons."""
        return next((dims for dims in (2, 3) if channels_of(self.input.streams, dims) == self.channels), 0)

    @property
    def window_seconds(self) -> float:
        """Seconds of motion that one answer is made from: the window, else the usual training sample, else T frames."""
        if self.input.window:
            return self.input.window / self.fps
        return self.seconds or self.input.frames / self.fps

    @property
    def shape(self) -> Shape:
        """What the model is given."""
        shapes: dict[str, Any] = {}
        if self.channels:
            shapes["pose"] = PoseShape(self.input.persons, self.input.frames, get_layout(self.input.layout), self.channels)
        if self.depth:
            shapes["depth"] = self.depth.shape
        if self.inertial:
            shapes["inertial"] = self.inertial.shape
        if self.video:
            shapes["video"] = self.video.shape
        return Shapes(**shapes) if len(shapes) > 1 else next(iter(shapes.values()))

    def class_of(self, label: str, dataset: str = "") -> int | None:
        """Index of the class that what somebody calls `label` shows; None for none of them.

        That is the class of this name, whatever its capitals and spaces, or the one that the recipe (`data.classes`) makes of labels of
        this name: in `dataset`, where that is given, else in any, if they all go to one class.
        """
        known = {plain(name): i for i, name in enumerate(self.classes)}
        data = self.recipe.get("data")
        vocabulary = data.get("classes") if isinstance(data, dict) else None
        made: dict[str, set[int | None]] = {}
        for name, members in vocabulary.items() if isinstance(vocabulary, dict) else ():
            for member in members if isinstance(members, list) else ():
                for key in {plain(str(member)), plain(str(member).rpartition("/")[2])}:
                    made.setdefault(key, set()).add(known.get(plain(str(name))))
        label = plain(label)
        for found in (made.get(f"{plain(dataset)}/{label}"), {known[label]} if label in known else None, made.get(label)):
            if found and len(found) == 1:
                return next(iter(found))
        return None

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the bundle's file, in hexadecimal; tables and results show the first 16 characters."""
        return _serialise(self)[1]

    def build(self) -> nn.Module:
        """The model with these weights, compact where they are, on the CPU, in evaluation mode.

        Raises `BundleError` where the weights do not fit the model.
        """
        import torch

        from kinema.models.registry import create_model

        def create() -> nn.Module:
            model = create_model(self.model, len(self.classes), self.shape, **self.config)
            if self.pruned is None:
                return model
            from kinema.models._compact import compact
            from kinema.models._prune import parts

            if self.pruned.compact:
                return compact(model, self.pruned)
            list(parts(model, self.pruned))  # told where the network has no such filters
            return model

        try:
            # Sizes first, without memory: settings by a stranger may ask for a network that no machine can hold.
            with torch.device("meta"):
                wanted = create().state_dict()
        except (KinemaError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise BundleError(f"bundle {self.name!r}: its model cannot be made: {error}") from error
        for key in sorted(wanted.keys() | self.state.keys()):
            have, want = self.state.get(key), wanted.get(key)
            if have is None or want is None or have.shape != want.shape or have.is_floating_point() != want.is_floating_point():
                raise BundleError(
                    f"bundle {self.name!r}: its weights do not fit model {self.model!r}: {key} is {_form(have)}; {_form(want)} is expected"
                )
        model = create()
        model.load_state_dict(dict(self.state))
        return model.eval()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the weights, as JSON-able values, with the file's hash."""
        fields = {name: value for name, value in vars(self).items() if name in self.__dataclass_fields__ and name != "state"}
        fitted = None if self.calibration is None else self.calibration.to_dict()
        levels = None if self.hierarchy is None else self.hierarchy.to_dict()
        removed = None if self.pruned is None else self.pruned.to_dict()
        also = {"calibration": fitted, "hierarchy": levels, "pruned": removed, "hash": self.hash}
        return {**fields, "classes": list(self.classes), **_inputs(self), **also}

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        takes = []
        if self.channels:
            takes = [f"{self.dims}-D skeletons ({self.input.layout}, {self.unit}), {self.window_seconds:.1f} s at {self.fps:g} fps"]
        if self.depth:
            takes.append(f"depth images ({self.depth.shape})")
        if self.inertial:
            takes.append(f"signals of a worn sensor ({self.inertial.shape})")
        if self.video:
            takes.append(f"videos ({self.video.shape})")
        return " and ".join(takes)

    def describe(self) -> str:
        """A few lines for people: what it recognises, what it takes, how it was measured."""
        lines = [
            f"{self.name} ({self.hash[:16]}): {self.model}, {len(self.classes)} classes",
            f"  takes    {self.takes}",
            f"  classes  {', '.join(self.classes)}",
        ]
        if self.calibration is not None:
            lines.append(f"  answers  calibrated: {self.calibration.describe()}")
        if self.hierarchy is not None:
            lines.append(f"  levels   {', '.join(map(str, self.hierarchy.counts))} superclasses")
        if self.pruned is not None:
            kept = "compact" if self.pruned.compact else "zeros in their places"
            lines.append(f"  pruned   {self.pruned.count} filters of {len(self.pruned.removed)} layers, {kept}")
        return "\n".join([*lines, *ending(self.result, self.notes)])


def plain(name: str) -> str:
    """A class name without what does not matter: capitals and runs of spaces."""
    return " ".join(name.casefold().split())


def shipped() -> list[str]:
    """Names of the bundles that come with Kinema."""
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def save(bundle: Bundle, path: str | Path) -> Path:
    """Write a bundle to one file, whole or not at all.

    Raises `BundleError` for weights that are not finite or settings that JSON cannot hold, `KinemaError` where the file
    cannot be written.
    """
    return write_whole(path, _serialise(bundle)[0])


def load(source: str | Path | Bundle) -> Bundle:
    """A bundle by the name of a shipped one, or by path (a file, or a training run's folder with its `bundle.safetensors`).

    Raises `BundleError` for an unknown name (with the nearest one), a file that is no bundle, or one with a changed byte.
    """
    if isinstance(source, Bundle):
        return source
    path, data = read_file(source)
    try:
        about, state, digest = unseal(data)
        _expect("fused" not in about, "several bundles fused into one, where a single one is expected")
        bundle = bundle_of(about, state)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    bundle.__dict__["hash"] = digest
    return bundle


def read_file(source: str | Path) -> tuple[Path, bytes]:
    """The file that a name or path stands for, as for `load`, and its bytes, unchecked."""
    names = shipped()
    if str(source) in names:
        path = WEIGHTS / f"{source}.safetensors"
    else:
        path = Path(source).expanduser()
        if path.is_dir():
            path = path / "bundle.safetensors"
        if not path.exists():
            is_path = path.suffix == ".safetensors" or len(path.parts) > 1
            raise BundleError(f"{path}: no such file" if is_path else unknown("bundle", str(source), names))
    try:
        if not path.is_file():
            raise BundleError(f"{path}: not a file")
        if path.stat().st_size > _MAX_FILE:
            raise BundleError(f"{path}: larger than {_MAX_FILE >> 30} GiB; not a bundle")
        return path, path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error


def size_of(bundle: Bundle) -> int:
    """Bytes of the bundle's file."""
    return len(_serialise(bundle)[0])


def _serialise(bundle: Bundle) -> tuple[bytes, str]:
    """The file's bytes and its digest."""
    return seal(bundle.name, bundle.state, about_of(bundle))


def about_of(bundle: Bundle) -> dict[str, Any]:
    """Everything but the weights, as it is written to a file."""
    about = {f.name: getattr(bundle, f.name) for f in fields(bundle) if f.name not in ("state", *_OPTIONAL, *_INPUTS)}
    # Left out where there is none, so that such bundles have the bytes, and the hash, that they always had.
    given = {name: getattr(bundle, name).to_dict() for name in _OPTIONAL if getattr(bundle, name) is not None}
    return {**about, **_inputs(bundle), **given}


def bundle_of(about: Any, state: Mapping[str, Tensor]) -> Bundle:
    """A bundle from what `about_of` gave, every field checked."""
    _expect(isinstance(about, dict), "the bundle's metadata is not a mapping")
    known = {f.name for f in fields(Bundle)} - {"state"}
    # Bundles of skeletons alone were written before there were other modalities.
    about = {"depth": None, "inertial": None, "video": None, **dict.fromkeys(_OPTIONAL), **about}
    _expect(about.keys() == known, f"the bundle's metadata lacks or adds {', '.join(sorted(about.keys() ^ known))}")
    inputs = {name: None if about[name] is None else settings_of(kind, about[name], name) for name, kind in _INPUTS.items()}
    given = {name: kind.of(about[name]) for name, kind in _OPTIONAL.items() if about[name] is not None and name != "hierarchy"}
    try:
        levels = None if about["hierarchy"] is None else Hierarchy.of(about["hierarchy"])
    except KinemaError as error:
        raise BundleError(f"the bundle's hierarchy: {error}") from error
    return Bundle(state=state, **{**about, **inputs, **given, "hierarchy": levels})


def _inputs(bundle: Bundle) -> dict[str, Any]:
    return {name: None if getattr(bundle, name) is None else asdict(getattr(bundle, name)) for name in _INPUTS}


def ending(result: dict[str, Any], notes: str) -> list[str]:
    """Last lines of a description: what was measured, and the notes."""
    lines = ["  measured " + ", ".join(f"{key} {value}" for key, value in _brief(result))] if result else []
    return [*lines, f"  notes    {notes}"] if notes else lines


def _brief(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The result's plain entries; fractions with four digits."""
    plain = [(key, value) for key, value in result.items() if isinstance(value, (str, int, float))]
    return [(key, f"{value:.4f}" if isinstance(value, float) else str(value)) for key, value in plain]


def _form(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'scalar'}"


def _expect(good: bool, message: str) -> None:
    if not good:
        raise BundleError(message)
