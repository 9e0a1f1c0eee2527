"""Joint layouts: their joints, bones and mirror pairs, and conversion between any two of them."""

import itertools

import numpy as np
import pytest

from kinema.errors import LayoutError
from kinema.layout import LAYOUTS, conversion, custom_layout, get_layout, sources

SIZES = {
    "utd-mhad": 20,
    "kinect20": 20,
    "ntu25": 25,
    "cad60": 15,
    "coco17": 17,
    "coco15": 15,
    "openpose18": 18,
    "openpose25": 25,
    "jhmdb15": 15,
    "blazepose33": 33,
}
PAIRS = list(itertools.permutations(LAYOUTS, 2))


def test_the_layouts_that_there_are():
    assert {name: len(layout) for name, layout in LAYOUTS.items()} == SIZES


@pytest.mark.parametrize("name", LAYOUTS)
def test_mirroring_twice_is_the_identity_and_swaps_sides(name):
    layout = LAYOUTS[name]
    assert (layout.mirror[layout.mirror] == np.arange(len(layout))).all()
    for left, right in layout.mirror_pairs:
        assert layout.joints[left].replace("left_", "right_") == layout.joints[right]
    sided = sum(joint.startswith(("left_", "right_")) for joint in layout.joints)
    assert 2 * len(layout.mirror_pairs) == sided == (layout.mirror != np.arange(len(layout))).sum()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_bones_are_a_tree_over_all_joints(name):
    layout = LAYOUTS[name]
    assert len(layout.bones) == len(layout) - 1
    assert len({child for child, _ in layout.bones}) == len(layout.bones)
    top = layout.parents.copy()
    for _ in layout.joints:
        top = layout.parents[top]
    assert len(set(top.tolist())) == 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_bones_are_the_same_on_both_sides(name):
    layout = LAYOUTS[name]
    bones = {frozenset(bone) for bone in layout.bones}
    assert {frozenset(layout.mirror[list(bone)].tolist()) for bone in bones} == bones


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_any_two_layouts_convert_or_say_what_is_lacking(source, target):
    source, target = LAYOUTS[source], LAYOUTS[target]
    lacking = [joint for joint in target.joints if sources(joint, source) is None]
    if lacking:
        with pytest.raises(LayoutError, match=f"nothing to derive {', '.join(lacking)} from"):
            conversion(source, target)
    weights = conversion(source, target, allow_missing=bool(lacking))
    assert weights.shape == (len(target), len(source)) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), [joint not in lacking for joint in target.joints], rtol=1e-6)
    for i, joint in enumerate(target.joints):
        if joint in source.joints:
            assert weights[i].nonzero()[0].tolist() == [source.index(joint)]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversion_keeps_the_sides(source, target):
    source, target = LAYOUTS[source], LAYOUTS[target]
    weights = conversion(source, target, allow_missing=True)
    np.testing.assert_array_equal(weights[target.mirror][:, source.mirror], weights)


POSSIBLE = [
    ("ntu25", "cad60"),
    ("ntu25", "kinect20"),
    ("utd-mhad", "kinect20"),
    ("utd-mhad", "cad60"),
    ("kinect20", "cad60"),
    ("coco17", "cad60"),
    ("coco17", "openpose18"),
    ("coco17", "jhmdb15"),
    ("coco17", "kinect20"),
    ("openpose25", "coco17"),
    ("blazepose33", "coco17"),
    ("blazepose33", "kinect20"),
    ("blazepose33", "cad60"),
]


@pytest.mark.parametrize(("source", "target"), POSSIBLE)
def test_conversions_that_people_need_are_possible(source, target):
    conversion(LAYOUTS[source], LAYOUTS[target])


def test_ntu_to_cad_picks_the_joints_that_published_work_picks():
    weights = conversion(LAYOUTS["ntu25"], LAYOUTS["cad60"])
    assert (weights.max(1) == 1).all()
    picked = weights.argmax(1).tolist()
    # CAD-60's neck lies at shoulder height, like NTU's spine-shoulder, but both data sets name joint 2 the neck.
    assert picked == [3, 2, 1, 4, 5, 8, 9, 12, 13, 16, 17, 7, 11, 15, 19]


@pytest.mark.parametrize(
    ("source", "joint", "names"),
    [
        ("coco17", "hip_center", ("left_hip", "right_hip")),
        ("coco17", "neck", ("left_shoulder", "right_shoulder")),
        ("coco17", "spine", ("left_shoulder", "right_shoulder", "left_hip", "right_hip")),
        ("kinect20", "neck", ("shoulder_center",)),
        ("coco17", "head", ("left_ear", "right_ear")),
        ("coco17", "left_hand", ("left_wrist",)),
        ("coco17", "left_big_toe", None),
    ],
)
def test_what_a_missing_joint_is_made_of(source, joint, names):
    assert sources(joint, LAYOUTS[source]) == names


def test_the_weights_cannot_be_changed():
    with pytest.raises(ValueError):
        conversion(LAYOUTS["ntu25"], LAYOUTS["cad60"])[0, 0] = 1


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(LayoutError, match="unknown joint layout 'coco'; did you mean 'coco17'"):
        get_layout("coco")
    with pytest.raises(LayoutError, match=r"layout 'ntu25': unknown joint 'left_hend'; did you mean 'left_hand'"):
        LAYOUTS["ntu25"].index("left_hend")
    assert get_layout(LAYOUTS["coco17"]) is get_layout("coco17")


CHAIN = [("b", "a"), ("c", "b")]


def test_a_layout_of_ones_own():
    layout = custom_layout(["a", "b", "c"], CHAIN, "b", "chain")
    assert layout.parents.tolist() == [0, 0, 1] and layout.root == 1 and layout.mirror.tolist() == [0, 1, 2]
    assert custom_layout(["a"], [], "a").parents.tolist() == [0]
    sided = custom_layout(["top", "left_x", "right_x"], [("left_x", "top"), ("right_x", "top")], "top")
    assert sided.mirror.tolist() == [0, 2, 1] and sided.mirror_pairs == ((1, 2),)


@pytest.mark.parametrize(
    ("joints", "bones", "root", "message"),
    [
        ([], [], "a", "joint names must be there"),
        (["a", "a"], [("a", "a")], "a", "differ from one another"),
        (["a", "left_b"], [("left_b", "a")], "a", "'left_b' has no counterpart 'right_b'"),
        (["a", "b"], [("b", "c")], "a", "bones or root name c, which is no joint"),
        (["a", "b"], [("b", "a")], "z", "bones or root name z, which is no joint"),
        (["a"], [], "z", "bones or root name z, which is no joint"),
        (["a", "b", "c"], [("b", "a")], "a", r"into one tree \(2 bones\)"),
        (["a", "b", "c"], [("b", "a"), ("b", "c")], "a", "into one tree"),
        (["a", "b", "c", "d"], [("b", "c"), ("c", "d"), ("d", "b")], "a", "into one tree"),
    ],
)
def test_a_layout_that_is_none_is_an_error(joints, bones, root, message):
    with pytest.raises(LayoutError, match=message):
        custom_layout(joints, bones, root)
