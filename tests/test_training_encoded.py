"""A frozen encoder answers once, and nobody can tell by the result; where its weights come from."""

import hashlib
import io
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import torch
from make_videos import write_video
from training_toys import use_toy_data

from kinema import bundle
from kinema.clip import Clip, VideoSource
from kinema.datasets.base import Dataset
from kinema.datasets.protocols import by_values
from kinema.errors import DataError, KinemaError, RecipeError
from kinema.evaluation.evaluate import evaluate
from kinema.models.crnn import Crnn
from kinema.models.registry import DepthShape, VideoShape, create_model
from kinema.models.resnet import ResNet
from kinema.training import imagenet
from kinema.training.encoded import Encoder
from kinema.training.fit import fit, make_fabric
from kinema.training.imagenet import fetch, read_imagenet
from kinema.training.importing import import_checkpoint
from kinema.training.load import check_recipe
from kinema.training.optimizers import make_optimizer
from kinema.training.recipe import DataConfig, EngineConfig, FitConfig, InitConfig, ModelConfig, Recipe
from kinema.training.transfer import initialise
from kinema.transforms.video_config import VideoAugment, VideoInput
from kinema.transforms.video_samples import VideoSamples

INPUT = VideoInput(frames=3, test_frames=2, height=32, width=32, fit="stretch")
CONFIG = {"stages": 1, "embed": [8], "units": 8, "layers": 1, "hidden": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The first part of a ResNet-18 with random weights, as a file of published weights."""
    torch.manual_seed(3)
    network = ResNet(18, stages=1).train()
    network.forward_map(torch.randn(2, 3, 32, 32))  # statistics that are no folded norms'
    path = tmp_path_factory.mktemp("weights") / "part.pth"
    torch.save({name: value for name, value in network.state_dict().items() if not name.startswith("fc")}, path)
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    clips = []
    for i in range(16):
        path = write_video(folder / f"v{i}.mp4", frames=4 + i % 3, height=24 * (1 + i % 2), width=48)
        clips.append(Clip(f"v{i}", {"video": VideoSource(path)}, i % 2, group=str(i // 4)))
    return Dataset("toy", tuple(clips), ("low", "high"), {"groups": by_values("groups", "0 to 2 train", "group", "012")})


@pytest.fixture
def recipe(weights, dataset, monkeypatch, tmp_path):
    use_toy_data(dataset, monkeypatch.setattr)
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "cache"))
    return Recipe(
        data=DataConfig("toy", val_by="group", val_share=0.3),
        video=INPUT,
        video_augment=VideoAugment(mirror=0.5),
        model=ModelConfig("crnn", CONFIG),
        init=InitConfig(bundle=str(weights), arch="resnet18", freeze=("encoder.",)),
        fit=FitConfig(epochs=3, batch_size=4, lr=0.01, encode=3, views=2),
        engine=EngineConfig(accelerator="cpu", threads=1),
    )


@pytest.fixture
def answered(monkeypatch):
    """How many clips the encoder was given so far, in all."""
    counts = []
    own = Crnn.encode
    monkeypatch.setattr(Crnn, "encode", lambda self, video: counts.append(len(video)) or own(self, video))
    return lambda: sum(counts)


def make(recipe, dataset):
    samples = VideoSamples.from_clips(dataset.clips, recipe.video)
    torch.manual_seed(0)
    model = create_model("crnn", 2, samples.shape, **{**CONFIG, "embed": (8,)})
    initialise(model, recipe.init)
    return samples, model, Encoder(model, recipe, make_fabric(recipe.engine))


def test_answers_are_the_encoders_own(recipe, dataset):
    samples, model, encoder = make(recipe, dataset)
    encoded = encoder.of(samples)
    assert len(encoded) == 16 and encoded.clip_ids == samples.clip_ids and torch.equal(encoded.labels, samples.labels)
    some = [3, 0, 9]
    for view, views in ((0, 1), (0, 2), (1, 2)):
        batch = encoded.batch(some, view=view, views=views)
        with torch.no_grad():
            wanted = model.eval().encode(samples.batch(some, view=view, views=views).inputs["video"])
        assert batch.inputs.keys() == {"features"} and batch.inputs["features"].shape == (3, 2, 64)
        torch.testing.assert_close(batch.inputs["features"], wanted)
        assert torch.equal(batch.labels, samples.labels[some])


def test_each_epoch_draws_among_the_looks_and_they_depend_on_the_clip_alone(recipe, dataset):
    samples, _, encoder = make(recipe, dataset)
    encoded = encoder.of(samples)

    def draw(seed, of=encoded, i=5):
        return of.batch([i], augment=recipe.video_augment, generator=torch.Generator().manual_seed(seed)).inputs["features"]

    drawn = [draw(seed) for seed in range(20)]
    assert drawn[0].shape == (1, 3, 64) and torch.equal(drawn[0], draw(0))
    different = {each.numpy().tobytes() for each in drawn}
    assert 2 <= len(different) <= 3
    alone = encoder.of(VideoSamples.from_clips(dataset.clips[5:7], recipe.video))
    assert {draw(seed, alone, 0).numpy().tobytes() for seed in range(20)} == different


def test_a_run_is_measured_as_if_nothing_had_been_kept(recipe, dataset, answered, tmp_path):
    run = fit(recipe, tmp_path / "first", progress=False)
    first = answered()
    # Eight clips train in three looks, four validate and four test in two views; what looks alike is answered once.
    assert (run.result["n_train"], run.result["n_val"], run.result["n_test"]) == (8, 4, 4) and 16 < first <= 8 * 3 + 4 * 2 + 4 * 2
    assert fit(replace(recipe, seed=1), tmp_path / "second", progress=False).result["n_test"] == 4
    validates_anew = answered() - first  # another seed may draw another group to validate
    assert fit(recipe, tmp_path / "third", progress=False).result["loss"] == run.result["loss"]
    assert answered() == first + validates_anew and validates_anew < first

    made = bundle.load(tmp_path / "first")
    result, scores = evaluate(made, dataset, "groups")
    with np.load(tmp_path / "first" / "scores.npz") as kept:
        np.testing.assert_allclose(scores.probabilities, kept["probabilities"], atol=1e-5)
    assert result["top1"] == run.result["top1"]


def test_refitting_takes_the_whole_training_part(recipe, answered, tmp_path):
    run = fit(replace(recipe, fit=replace(recipe.fit, selection="refit")), tmp_path / "run", progress=False)
    assert run.result["selection"] == "refit" and run.result["units"]["train"] == 8
    assert answered() <= 8 * 3 + 4 * 2 + 4 * 2 + 4 * 3


def test_a_damaged_file_of_answers_is_answered_anew(recipe, answered, tmp_path):
    first = fit(recipe, tmp_path / "first", progress=False)
    count = answered()
    files = sorted((tmp_path / "cache" / "encoded").rglob("*.safetensors"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    assert fit(recipe, tmp_path / "second", progress=False).result["loss"] == pytest.approx(first.result["loss"])
    assert answered() == 2 * count


def test_without_a_cache_folder_answers_are_kept_for_the_run(recipe, answered, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path / "file" / "impossible"))
    assert 0 <= fit(recipe, tmp_path / "run", progress=False).result["top1"] <= 1
    # Whatever the number of epochs: three looks, one view while training and two at the end.
    assert answered() <= 8 * 3 + 4 * 3 + 4 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: replace(r, init=replace(r.init, freeze=("encoder.conv1",))), r"'encoder.bn1.weight' trains; .*all of the encoder"),
        (lambda r: replace(r, init=replace(r.init, freeze=())), "fit.encode is for an encoder that is frozen"),
        (lambda r: replace(r, init=InitConfig(freeze=("encoder.",))), "init.freeze would freeze random values"),
        (lambda r: replace(r, video_augment=VideoAugment(cutmix=1.0)), "cutmix mixes pictures, of which fit.encode leaves none"),
    ],
)
def test_what_cannot_answer_once_is_refused(recipe, change, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        fit(change(recipe), tmp_path / "run", progress=False)


def test_a_model_without_an_encoder_is_refused(recipe):
    model = create_model("cnn3d", 2, VideoShape(3, 4, 32, 32), channels=(2, 2), hidden=(2,))
    with pytest.raises(RecipeError, match="'cnn3d' has no encoder that could answer once"):
        Encoder(model, replace(recipe, model=ModelConfig("cnn3d")), make_fabric(recipe.engine))


def test_a_part_may_train_more_slowly():
    model = create_model("crnn", 2, VideoShape(3, 4, 32, 32), **{**CONFIG, "embed": (8,)})
    optimizer = make_optimizer(model, FitConfig(), slow=("encoder.",), slow_factor=0.1)
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    assert {name.startswith("encoder."): 0 for name, p in model.named_parameters() if scale[id(p)] == 0.1} == {True: 0}
    assert {scale[id(p)] for name, p in model.named_parameters() if not name.startswith("encoder.")} == {1.0}


def test_a_slow_part_moves_less(recipe, tmp_path):
    change = replace(recipe, fit=replace(recipe.fit, encode=0, optimizer="sgd", epochs=1, schedule="constant"))
    moved = {}
    for name, init in {
        "fast": replace(recipe.init, freeze=()),
        "slow": replace(recipe.init, freeze=(), slow=("encoder.",), slow_factor=1e-3),
    }.items():
        fit(replace(change, init=init), tmp_path / name, progress=False)
        own = bundle.load(tmp_path / name).state["encoder.conv1.weight"]
        moved[name] = (own - torch.load(recipe.init.bundle, weights_only=True)["conv1.weight"]).abs().max()
    assert 0 < moved["slow"] < 0.1 * moved["fast"]


def test_published_weights_go_to_every_resnet(weights):
    model = create_model("depth-cnn", 3, DepthShape(3, 50, 50))
    account = initialise(model, InitConfig(bundle=str(weights), arch="resnet18"))
    assert "cnn.layer1.1.conv2.weight" in account.loaded and "cnn.layer2.0.conv1.weight" in account.remade


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "not a readable file of PyTorch weights"),
        ({"state": 1}, "no weights of resnet18"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, "conv1.weight is 64x3x3x3; resnet18 has 64x3x7x7 there"),
        ({"bn1.bias": torch.zeros(64), "stem": torch.zeros(1)}, "stem is 1; resnet18 has nothing there"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(DataError, match=message):
        read_imagenet(path, "resnet18")
    with pytest.raises(DataError, match="no such file"):
        read_imagenet(tmp_path / "nothing.pth", "resnet18")


def test_an_encoders_weights_are_no_bundle(weights, tmp_path):
    with pytest.raises(RecipeError, match="resnet18 are a part of models here"):
        import_checkpoint(weights, tmp_path / "b.safetensors", arch="resnet18")


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A publisher whose file is what is put into the returned list, and a cache folder of our own."""
    monkeypatch.setenv("KINEMA_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    content, asked = [b"the weights"], []
    name = f"resnet18-{hashlib.sha256(content[0]).hexdigest()[:8]}.pth"
    monkeypatch.setitem(imagenet._FILES, "resnet18", name)

    def urlopen(url, timeout):
        asked.append(url)
        if not content:
            raise urllib.error.URLError("no network")
        return io.BytesIO(content[0])

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return content, asked, name


def test_the_publishers_file_is_fetched_once(published):
    _, asked, name = published
    path = fetch("resnet18")
    assert path.read_bytes() == b"the weights" and asked == [f"https://download.pytorch.org/models/{name}"]
    assert fetch("resnet18") == path and len(asked) == 1
    path.write_bytes(b"other")
    with pytest.raises(KinemaError, match="damaged, or not the published"):
        fetch("resnet18")


def test_another_file_than_the_published_one_is_not_kept(published, tmp_path):
    content, _, _ = published
    content[0] = b"other weights"
    with pytest.raises(KinemaError, match="its SHA-256 does not begin with"):
        fetch("resnet18")
    assert not list(tmp_path.rglob("*.pth"))


def test_without_a_network_the_message_names_the_file(published, tmp_path):
    content, _, name = published
    content.clear()
    with pytest.raises(KinemaError) as error:
        fetch("resnet18")
    assert "\n" not in str(error.value) and "no network" in str(error.value) and str(tmp_path / "imagenet" / name) in str(error.value)


def test_a_recipe_may_name_the_publishers_weights():
    init = InitConfig(bundle="imagenet", arch="resnet101", freeze=("encoder.",))
    assert check_recipe(Recipe(data=DataConfig("ucf101"), model=ModelConfig("crnn"), init=init, fit=FitConfig(encode=2)))
