"""Published weights as a bundle: every tensor accounted for, joints by name, and training that starts from it."""

import pytest
import torch

from kinema import bundle
from kinema.datasets.ntu import CLASSES_60, read_skeleton
from kinema.errors import DataError, LayoutError, RecipeError
from kinema.layout import get_layout
from kinema.models.registry import PoseShape, create_model
from kinema.training.importing import import_checkpoint
from kinema.training.recipe import InitConfig
from kinema.training.transfer import initialise

WEIGHTS = "efficientgcn_b0_ntu60_xsub.pt"


def test_published_weights_become_a_bundle_that_recognises_ntu_samples(models, data_root, tmp_path):
    imported = import_checkpoint(models(WEIGHTS), tmp_path / "ntu.safetensors")
    loaded = bundle.load(tmp_path / "ntu.safetensors")
    assert loaded.classes == CLASSES_60 and loaded.hash == imported.to_dict()["hash"]
    assert f"{len(loaded.state)} tensors" in imported.text()
    model = loaded.build()
    for action in range(1, 10):
        pose = read_skeleton(data_root("ntu") / "samples" / f"S001C001P001R001A{action:03}.skeleton")
        x = torch.zeros(1, 2, *pose.points.shape[1:])
        x[0, : len(pose.points)] = torch.tensor(pose.points)
        with torch.inference_mode():
            assert int(model(x).argmax()) == action - 1


def test_training_on_other_joints_starts_from_all_of_it_but_the_head(models, tmp_path):
    import_checkpoint(models(WEIGHTS), tmp_path / "cad.safetensors", layout="cad60")
    model = create_model("efficientgcn-b0", 12, PoseShape(1, 100, get_layout("cad60"), 3), frames=0)
    account = initialise(model, InitConfig(bundle=str(tmp_path / "cad.safetensors"), freeze=("branches.",)))
    assert set(account.remade) == {"fc.weight", "fc.bias"} and not account.unused
    assert set(account.loaded) | set(account.remade) == set(model.state_dict())
    assert all(name.startswith("branches.") for name in account.frozen) and "fc.weight" in account.trained


def test_labels_come_from_a_file(models, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"action {i}" for i in range(60)) + "\n")
    assert import_checkpoint(models(WEIGHTS), tmp_path / "b.safetensors", labels=names).bundle.classes[59] == "action 59"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arch": "efficientgcn"}, RecipeError, "unknown architecture 'efficientgcn'; did you mean 'efficientgcn-b0'"),
        ({"labels": "ntu120"}, DataError, "fc.bias is 60; efficientgcn-b0 with 120 classes needs 120"),
        ({"labels": "nowhere.txt"}, DataError, "labels: .*; ntu60, ntu120 or a text file with a class name a line is expected"),
        ({"layout": "cad61"}, LayoutError, "did you mean 'cad60'"),
    ],
)
def test_what_does_not_fit_is_told(models, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        import_checkpoint(models(WEIGHTS), tmp_path / "b.safetensors", **options)
    assert not (tmp_path / "b.safetensors").exists()


def test_a_file_of_other_weights_is_refused(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(DataError, match="no EfficientGCN weights"):
        import_checkpoint(tmp_path / "other.pt", tmp_path / "b.safetensors")
