"""EfficientGCN: the authors' weights recognise real recordings; the graph follows the layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.datasets.ntu import read_skeleton
from kinema.errors import DataError, RecipeError
from kinema.layout import get_layout
from kinema.models.efficientgcn import _graph, _parents, load_published
from kinema.models.registry import create_model, model_info

EXAMPLE = model_info("efficientgcn-b0").example
WEIGHTS = "efficientgcn_b0_ntu60_xsub.pt"


@pytest.fixture(scope="module")
def published(models):
    model = create_model("efficientgcn-b0", 60, EXAMPLE)
    model.load_state_dict(load_published(models(WEIGHTS)), strict=True)
    return model.eval()


@pytest.mark.parametrize(
    "sample", [*(f"S001C001P001R001A{action:03}" for action in range(1, 10)), "S001C003P008R002A058"], ids=lambda name: name[-4:]
)
def test_published_weights_recognise_ntu_samples(published, data_root, sample):
    points = torch.tensor(np.array(read_skeleton(data_root("ntu") / "samples" / f"{sample}.skeleton", clean=False).points[:2]))
    x = torch.zeros(1, 2, *points.shape[1:])
    x[0, : len(points)] = points
    mask = torch.zeros(x.shape[:-1], dtype=torch.bool)
    mask[0, : len(points)] = points.any(-1).any(-1)[..., None]
    with torch.no_grad():
        probabilities = published(x, mask).softmax(1)[0]
    assert int(probabilities.argmax()) == int(sample[-3:]) - 1
    assert float(probabilities.max()) >= 0.99


def test_size_is_that_of_the_published_network():
    model = create_model("efficientgcn-b0", 60, EXAMPLE)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(0.345e6, rel=2e-3)


def test_published_weights_move_to_another_layout_by_joint_name(models):
    shape = replace(EXAMPLE, persons=1, layout=get_layout("cad60"))
    model = create_model("efficientgcn-b0", 60, shape, frames=0)
    model.load_state_dict(load_published(models(WEIGHTS), "cad60"), strict=True)
    theirs = load_published(models(WEIGHTS))["blocks.1.spatial.edge"]
    ours = model.blocks[1].spatial.edge
    ntu, cad = get_layout("ntu25"), get_layout("cad60")
    for joints in (("head", "neck"), ("left_hand", "left_elbow"), ("right_knee", "right_knee")):
        there, here = ([layout.index(joint) for joint in joints] for layout in (ntu, cad))
        assert torch.equal(ours[:, here[0], here[1]], theirs[:, there[0], there[1]])
    face = load_published(models(WEIGHTS), "coco17")["blocks.1.spatial.edge"]
    nose, left_eye = (get_layout("coco17").index(joint) for joint in ("nose", "left_eye"))
    assert (face[:, nose, left_eye] == 1).all()


@pytest.mark.parametrize("content", [None, b"", b"not weights", {"fc.weight": torch.zeros(2)}, torch.zeros(3)])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(DataError, match=r"weights\.pt"):
        load_published(path)


def test_another_graph_is_refused(tmp_path, models):
    state = torch.load(models(WEIGHTS), weights_only=True)
    state["main_stream.block-1_scn.conv.A"] = torch.rand(3, 25, 25)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"block-1_scn\.conv\.A.*another graph"):
        load_published(tmp_path / "weights.pt")


@pytest.mark.parametrize("layout", ["ntu25", "cad60", "coco17", "blazepose33"])
def test_graph_joins_joints_of_the_layout_up_to_two_bones_apart(layout):
    layout = get_layout(layout)
    graph = _graph(_parents(layout))
    near, joined, next_but_one = (part > 0 for part in graph)
    assert torch.equal(near, torch.eye(len(layout), dtype=torch.bool))
    assert int(joined.sum()) == 2 * (len(layout) - 1) and torch.equal(joined, joined.T)
    assert torch.equal(next_but_one, ((joined.int() @ joined.int()) > 0) & ~near)
    assert (graph.sum((0, 1)) <= 1 + 1e-6).all()  # columns of the graph of three bones sum to 1


def test_frames_after_the_end_are_padded_as_if_they_were_given():
    torch.manual_seed(0)
    model = create_model("efficientgcn-b0", 4, replace(EXAMPLE, frames=24), frames=40).eval()
    x = torch.randn(2, 2, 24, 25, 3)
    longer = torch.cat([x, torch.zeros(2, 2, 16, 25, 3)], 2)
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(longer))


def test_depth_and_width_are_settings():
    shape = replace(EXAMPLE, frames=16)
    model = create_model("efficientgcn-b0", 4, shape, branch_widths=[48], branch_depths=[1], widths=[96, 192], depths=[2, 2], frames=0)
    assert model.eval()(torch.randn(1, 2, 16, 25, 3)).shape == (1, 4)
    with pytest.raises(RecipeError, match="2 widths and 1 depths"):
        create_model("efficientgcn-b0", 4, shape, depths=[1])
