"""C-RNN: encoders, decoders, and features that are encoded once."""

import pytest
import torch
from video_models import answer, check, check_example, make, videos

from kinema.errors import RecipeError
from kinema.models.registry import VideoShape
from kinema.training.recipe import InitConfig
from kinema.training.transfer import initialise, training_mode

SHAPE = VideoShape(3, 4, 40, 48)
NARROW = {"embed": (12, 10, 8), "units": 8, "layers": 2, "hidden": 6}
WEIGHTS = "resnet18_imagenet_partial.pt"


@pytest.mark.parametrize(
    "config",
    [
        {"encoder": "cnn", "grid": (0, 0)},
        {"encoder": "resnet18", "stages": 2, "shift": 0.125, "decoder": "gru"},
        {"encoder": "resnet18", "stages": 2, "norm": "fixed", "grid": (2, 2), "decoder": "attention", "embed": (), "hidden": 0},
        {"encoder": "resnet50", "stages": 1, "decoder": "mean", "embed_norm": False},
        {"encoder": "cnn", "decoder": "statistics"},
    ],
    ids=["cnn, lstm", "resnet18, shift, gru", "resnet18, fixed norms, attention", "resnet50, mean", "cnn, statistics"],
)
def test_it_does_what_every_model_of_videos_does(config):
    check("crnn", SHAPE, **{**NARROW, **config})


def test_sizes_are_those_of_the_document():
    model = make("cnn-rnn", VideoShape(3, 29, 90, 120), 101)
    convolutions = [layer for layer in model.encoder.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 64, 128, 256]
    linear = [layer for layer in model.embed if isinstance(layer, torch.nn.Linear)]
    assert [layer.in_features for layer in linear] == [256 * 4 * 6, 512, 512]
    dropouts = [layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    assert dropouts == [0.0, 0.3, 0.3]  # the encoder's own is not used
    assert (model.decoder.rnn.hidden_size, model.decoder.rnn.num_layers, model.hidden.out_features) == (512, 3, 256)


def test_a_resnet_has_the_lineages_head_and_torchvisions_names():
    with torch.device("meta"):
        model = make("crnn", VideoShape(3, 29, 90, 120), encoder="resnet101")
    assert [layer.out_features for layer in model.embed if isinstance(layer, torch.nn.Linear)] == [1024, 768, 512]
    state = model.state_dict()
    assert state["encoder.layer3.22.conv3.weight"].shape == (1024, 256, 1, 1) and "encoder.fc.weight" not in state


@pytest.mark.parametrize("decoder", ["lstm", "gru", "attention", "mean", "statistics"])
def test_what_was_encoded_once_gives_the_videos_answer(decoder):
    model = make("crnn", SHAPE, **NARROW, encoder="resnet18", stages=2, shift=0.125, decoder=decoder).eval()
    video = videos(SHAPE)
    with torch.no_grad():
        features = model.encode(video)
    assert features.shape == (3, 4, model.encoded_features)
    torch.testing.assert_close(answer(model, features=features), answer(model, video=video))


@pytest.mark.parametrize(
    ("decoder", "order_counts"), [("lstm", True), ("gru", True), ("attention", False), ("mean", False), ("statistics", False)]
)
def test_order_of_frames_counts_for_recurrent_decoders(decoder, order_counts):
    model = make("crnn", SHAPE, encoder="resnet18", stages=1, embed=(), units=8, layers=1, decoder=decoder)
    features = 5 * torch.randn(3, 4, model.encoded_features)
    assert torch.allclose(answer(model, features=features), answer(model, features=features.flip(1)), atol=1e-5) != order_counts


def test_statistics_tell_how_much_the_frames_vary_and_how_fast():
    model = make("crnn", SHAPE, encoder="resnet18", stages=1, grid=(2, 2), peaks=True, embed=(), decoder="statistics")
    assert model.encoded_features == 64 * 5 and model.decoder.num_features == 3 * model.encoded_features
    there_and_back = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(1, 4, 1).expand(1, 4, model.encoded_features)
    model.decoder.norm = torch.nn.Identity()
    for frames, wanted in (
        (there_and_back, (0.5, 0.5, 1.0)),
        (there_and_back.sort(1).values, (0.5, 0.5, 1 / 3)),
        (0 * there_and_back, (0, 0, 0)),
    ):
        found = model.decoder(frames).unflatten(1, (3, -1)).mean((0, 2))
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32), rtol=0, atol=4e-3)


def test_peaks_are_the_largest_values_of_the_map():
    model = make("crnn", SHAPE, encoder="resnet18", stages=1, grid=(1, 1), peaks=True, embed=(), decoder="mean").eval()
    video = videos(SHAPE)
    with torch.no_grad():
        mean, peak = model.encode(video).split(64, 2)
        maps = model.encoder.forward_map(video.transpose(1, 2).flatten(0, 1), 4)
    torch.testing.assert_close(mean.flatten(0, 1), maps.mean((2, 3)))
    torch.testing.assert_close(peak.flatten(0, 1), maps.amax((2, 3)))


def test_a_shift_in_time_sees_neighbours_and_no_other_clip():
    model = make("crnn", SHAPE, **NARROW, encoder="resnet18", stages=2, shift=0.25).eval()
    video = videos(SHAPE)
    changed = video.clone()
    changed[0, :, 3] += 1
    with torch.no_grad():
        difference = (model.encode(changed) - model.encode(video)).abs().amax(2)
    assert difference[0, 2] > 1e-4 and difference[1:].max() == 0


def test_partial_weights_load_and_norms_keep_their_statistics(models):
    init = InitConfig(bundle=str(models(WEIGHTS)), arch="resnet18")
    model = make("crnn", SHAPE, **NARROW, norm="fixed")
    account = initialise(model, init)
    missing = {f"encoder.layer4.{block}.conv{i}.weight" for block in (0, 1) for i in (1, 2)}
    assert {name for name in account.remade if name.startswith("encoder.")} == missing
    assert set(account.unused) == {"encoder.fc.weight", "encoder.fc.bias"} and "folded" in str(account)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training_mode(model, ())
    model(videos(SHAPE)).sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    after = model.state_dict()
    assert torch.equal(before["encoder.layer2.0.bn1.running_mean"], after["encoder.layer2.0.bn1.running_mean"])
    assert not torch.equal(before["encoder.layer2.0.bn1.bias"], after["encoder.layer2.0.bn1.bias"])


@pytest.mark.parametrize(
    ("config", "init", "message"),
    [
        ({}, {}, "folded into its convolutions, and 'encoder.bn1' would estimate statistics anew"),
        ({}, {"freeze": ("encoder.",)}, r"init.freeze would freeze 'encoder.layer4.0.conv1.weight' at random values: not in the bundle"),
        ({"encoder": "resnet34"}, {}, "the model's ResNet 'encoder' is no resnet18"),
        ({"encoder": "cnn"}, {}, "no ResNet that resnet18's weights could go to"),
    ],
)
def test_weights_that_would_do_harm_are_refused(models, config, init, message):
    with pytest.raises(RecipeError, match=message):
        initialise(make("crnn", SHAPE, **NARROW, **config), InitConfig(bundle=str(models(WEIGHTS)), arch="resnet18", **init))


def test_a_frozen_encoder_is_left_in_evaluation(models):
    model = make("crnn", SHAPE, **NARROW, stages=3)
    init = InitConfig(bundle=str(models(WEIGHTS)), arch="resnet18", freeze=("encoder.",))
    initialise(model, init)
    training_mode(model, init.freeze)
    video = videos(SHAPE)
    with torch.no_grad():
        encoded = model.encode(video)
        assert model.head_dropout.training and model.embed.training
        torch.testing.assert_close(encoded, model.eval().encode(video))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"encoder": "resnet19"}, "unknown encoder 'resnet19'; did you mean 'resnet1"),
        ({"decoder": "lstn"}, "unknown decoder 'lstn'; did you mean 'lstm'"),
        ({"encoder": "cnn", "stages": 3}, "settings of a ResNet"),
        ({"grid": (0, 2)}, "rows and columns"),
        ({"stages": 5}, "1 to 4 stages"),
        ({"shift": 0.7}, "shift from 0 to .5"),
        ({"units": 0}, "at least 1"),
        ({"encoder": "cnn", "grid": (0, 0)}, "too small for the encoder's convolutions"),
    ],
)
def test_impossible_settings_are_refused(config, words):
    with pytest.raises(RecipeError, match=words):
        make("crnn", VideoShape(3, 4, 16, 16), **{**NARROW, **config})


def test_figures():
    parameters, multiply_adds = check_example("cnn-rnn")
    assert 9e6 < parameters < 11e6 and 1.1e9 < multiply_adds < 1.4e9
