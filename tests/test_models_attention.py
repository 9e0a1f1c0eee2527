"""Temporal attention against plain loops, in each of its forms."""

import pytest
import torch

from kinema.errors import RecipeError
from kinema.models._gru import GroupedBiGRU
from kinema.models.attention import FORMS, TemporalAttention


def one_by_one(ours, x):
    """The sum of both directions by `torch.nn.GRU`, a group at a time."""
    outputs = []
    for group in range(ours.groups):
        units = ours.weight_hidden.shape[1]
        theirs = torch.nn.GRU(x.shape[-1], units, bidirectional=True).to(x.dtype)
        weights = {}
        for suffix, i in (("", group), ("_reverse", ours.groups + group)):
            weights[f"weight_ih_l0{suffix}"] = ours.into_gates.weight[i].T
            weights[f"bias_ih_l0{suffix}"] = ours.into_gates.bias[i, 0]
            weights[f"weight_hh_l0{suffix}"] = ours.weight_hidden[i].T
            weights[f"bias_hh_l0{suffix}"] = ours.bias_hidden[i, 0]
        both = torch.func.functional_call(theirs, weights, (x[group],))[0]
        outputs.append(both[..., :units] + both[..., units:])
    return torch.stack(outputs)


def test_one_call_for_all_coordinates_is_one_call_for_each():
    torch.manual_seed(0)
    gru = GroupedBiGRU(groups=3, inputs=5, units=4).double()
    for parameter in gru.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(3, 7, 2, 5, dtype=torch.float64, requires_grad=True)
    together, apart = gru(x), one_by_one(gru, x)
    torch.testing.assert_close(together, apart)
    into = torch.randn_like(together)
    wanted = torch.autograd.grad(apart, [x, *gru.parameters()], into)
    torch.testing.assert_close(torch.autograd.grad(together, [x, *gru.parameters()], into), wanted)
    with torch.no_grad():
        torch.testing.assert_close(gru(x), apart)


def test_gru_differentiates_in_single_steps_and_alone():
    gru = GroupedBiGRU(1, 2, 3).double()
    for steps, batch in ((1, 2), (4, 1)):
        x = torch.randn(1, steps, batch, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(gru, (x,))


def attention(form, channels=3, frames=32, values=6, shared=False, units=8, heads=2):
    torch.manual_seed(0)
    module = TemporalAttention(channels, frames, values, form, shared=shared, units=units, heads=heads).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module, torch.randn(2, channels, frames, values, dtype=torch.float64)


def memory_of(module, channel, x):
    """F_M of one matrix (T, V') with the weights of one coordinate, frame by frame and direction by direction."""
    gru = module.memory
    units = gru.weight_hidden.shape[1]
    total = torch.zeros(len(x), units, dtype=x.dtype)
    for i, order in ((channel, range(len(x))), (gru.groups + channel, reversed(range(len(x))))):
        state = torch.zeros(units, dtype=x.dtype)
        for t in order:
            given = x[t] @ gru.into_gates.weight[i] + gru.into_gates.bias[i, 0]
            own = state @ gru.weight_hidden[i] + gru.bias_hidden[i, 0]
            reset, update = ((given + own)[k * units : (k + 1) * units].sigmoid() for k in (0, 1))
            candidate = (given[2 * units :] + reset * own[2 * units :]).tanh()
            state = (1 - update) * candidate + update * state
            total[t] += state
    return total


@torch.no_grad()
def test_document_form_is_what_the_text_says():
    module, x = attention("document", frames=5)
    expected = x.clone()
    for clip in range(2):
        for c in range(3):
            memory = memory_of(module, c, x[clip, c])
            for t in range(5):
                for v in range(6):
                    gate = sum(memory[t, u] * module.gate.weight[c, u, v] for u in range(6)) + module.gate.bias[c, 0, v]
                    expected[clip, c, t, v] += memory[t, v] * gate.sigmoid()
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_reference_form_squeezes_and_excites_frames():
    module, x = attention("reference")
    assert module.squeeze.weight.shape == (3, 32, 2)
    expected = x.clone()
    for clip in range(2):
        for c in range(3):
            memory = memory_of(module, c, x[clip, c] @ module.enter.weight[c] + module.enter.bias[c])
            few = (memory.mean(1) @ module.squeeze.weight[c] + module.squeeze.bias[c, 0]).relu()
            gates = (few @ module.excite.weight[c] + module.excite.bias[c, 0]).sigmoid()
            expected[clip, c] += (gates[:, None] * memory) @ module.leave.weight[c] + module.leave.bias[c]
    torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_self_attention_takes_the_place_of_the_recurrent_part():
    module, x = attention("self-attention", channels=1)
    memory = module.memory
    hidden = x[0, 0] @ module.enter.weight[0] + module.enter.bias[0] + memory.position[0, :, 0]
    hidden = (hidden - hidden.mean(1, keepdim=True)) / (hidden.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    query, key, value = (hidden @ memory.into_heads.weight[0] + memory.into_heads.bias[0]).split(8, 1)
    heads = [(query[:, part] @ key[:, part].T / 2).softmax(1) @ value[:, part] for part in (slice(0, 4), slice(4, 8))]
    found = torch.cat(heads, 1) @ memory.out_of_heads.weight[0] + memory.out_of_heads.bias[0]
    gates = module.excite(module.squeeze(found.mean(1).view(1, 1, -1)).relu()).sigmoid().view(-1, 1)
    expected = x[0, 0] + (gates * found) @ module.leave.weight[0] + module.leave.bias[0]
    torch.testing.assert_close(module(x)[0, 0], expected)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_coordinates_have_weights_of_their_own_or_the_same(form):
    module, x = attention(form)
    alone, _ = attention(form, channels=1)
    for c in range(3):
        state = {}
        for key, tensor in module.state_dict().items():
            both = tensor.view(2, 3, *tensor.shape[1:]) if len(tensor) == 6 else tensor[None]
            state[key] = both[:, c]
        alone.load_state_dict(state)
        torch.testing.assert_close(alone(x[:, c : c + 1]), module(x)[:, c : c + 1])
    shared, _ = attention(form, shared=True)
    alone.load_state_dict(shared.state_dict())
    torch.testing.assert_close(shared(x), torch.cat([alone(x[:, c : c + 1]) for c in range(3)], 1))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_keeps_the_coordinates(form):
    module, x = attention(form)
    module, x = module.float(), x.float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(x)
    rough.sum().backward()
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, module(x), rtol=0.1, atol=0.1)


def test_unknown_forms_and_heads_are_refused():
    with pytest.raises(RecipeError, match="known: document, reference, self-attention"):
        TemporalAttention(3, 50, 50, "paper")
    with pytest.raises(RecipeError, match="64 units are not divisible among 5 heads"):
        TemporalAttention(3, 50, 50, "self-attention", heads=5)
