"""Mixing two samples: whatever modalities they have, in the proportion of their targets."""

import pytest
import torch

from kinema.transforms.batches import Batch, mixup


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(mask=None, **inputs):
    x = torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 2, 3, 5, 2).clone()
    return Batch({"x": x, "mask": mask, **inputs}, torch.arange(4))


def test_targets_sum_to_one_and_the_sample_itself_prevails():
    mixed, targets = mixup(batch(), torch.eye(4), 0.4, generator())
    torch.testing.assert_close(targets.sum(1), torch.ones(4))
    assert (targets.diagonal() >= 0.5).all() and mixed.x.dtype == torch.float32


def test_every_modality_is_mixed_in_the_proportion_of_the_targets():
    depth = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 6, 6).clone()
    inertial = torch.arange(4.0).view(4, 1, 1).expand(4, 6, 9).clone()
    mixed, targets = mixup(batch(depth=depth, inertial=inertial), torch.eye(4), 1.0, generator())
    expected = targets @ torch.arange(4.0)
    assert not torch.equal(expected, torch.arange(4.0))
    for name in ("x", "depth", "inertial"):
        torch.testing.assert_close(mixed.inputs[name].flatten(1).mean(1), expected)
    assert torch.equal(mixed.labels, torch.arange(4))


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_mixes_alike(seed):
    one, two = (mixup(batch(), torch.eye(4), 0.4, generator(seed)) for _ in range(2))
    assert torch.equal(one[0].x, two[0].x) and torch.equal(one[1], two[1])


def test_a_joint_is_taken_from_the_only_one_that_observed_it():
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 2, 1).clone()
    mask = torch.tensor([[True, True], [True, False]]).view(2, 1, 1, 2)
    given = Batch({"x": x * mask[..., None], "mask": mask}, torch.arange(2))
    seed = next(seed for seed in range(99) if mixup(given, torch.eye(2), 1.0, generator(seed))[1][0, 1] > 0)
    mixed, targets = mixup(given, torch.eye(2), 1.0, generator(seed))
    assert mixed.mask.all() and mixed.x[1, 0, 0, 1, 0] == 1
    assert mixed.x[0, 0, 0, 0, 0].item() == pytest.approx(1 + 2 * targets[0, 1].item(), rel=1e-6)
