"""Pruning in passes: what each one starts from, how long it goes on, what is kept, and what goes wrong."""

import json
from dataclasses import replace

import pytest
import torch
from training_toys import register_toy, toy_dataset, toy_recipe, use_toy_data

from kinema import bundle as bundles
from kinema.cli import main
from kinema.errors import KinemaError, RecipeError
from kinema.evaluation.results import read_results
from kinema.models._prune import PruningError, filters_of
from kinema.training import fit as fit_module
from kinema.training import pruning
from kinema.training.fit import Interrupted, fit
from kinema.training.load import load_recipe
from kinema.training.pruning import Pass, Plan, prune
from kinema.training.recipe import HierarchyConfig, ModelConfig
from kinema.training.run_folder import RunResult, read_run

SMALL = ModelConfig("hcn", {"widths": [8, 16, 8, 8, 16, 16], "hidden": 16})


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    register_toy()
    use_toy_data(toy_dataset(), monkeypatch.setattr)


def recipe_of(**settings):
    # Everything that could move a filter that is gone: momentum of the weights' mean, decay, and a step for each batch.
    return replace(toy_recipe(**{"epochs": 3, "lr": 0.003, "weight_decay": 0.1, "ema": 0.5, **settings}), model=SMALL)


@pytest.fixture
def trained(tmp_path):
    return fit(recipe_of(), tmp_path / "run", progress=False).out


def zeros(model, conv):
    weight = filters_of(model.get_submodule(conv)).flatten(1)
    return set(torch.nonzero((weight == 0).all(1)).flatten().tolist())


def test_passes_take_their_share_of_all_filters_and_keep_it_out(trained, tmp_path):
    out = tmp_path / "pruned"
    found = prune(trained, out, Plan(0.2, 2), {"fit.epochs": 2}, progress=False)
    assert [each.number for each in found.passes] == [0, 1, 2]
    start = bundles.load(trained).build()
    for number, share in ((1, 0.2), (2, 0.4)):
        kept = bundles.load(out / f"pass{number}")
        model = kept.build()
        for layer in kept.pruned.layers:
            own = filters_of(model.get_submodule(layer.conv))
            assert len(layer.removed) == round(share * len(own))
            assert set(layer.removed) <= zeros(model, layer.conv)
            bias = model.get_submodule(layer.conv).bias
            assert bias is None or not bias[list(layer.removed)].any()
        recipe = load_recipe(out / f"pass{number}" / "recipe.yaml")
        assert recipe.fit.epochs == 2 and recipe.init.bundle == str(out / f"pass{number}" / "start")
        # Weights are inherited: the filters that go are those of the smallest norm in the network before.
        first = bundles.load(out / f"pass{number}" / "start").build()
        changed = {layer.conv for layer in kept.pruned.layers}
        for name, value in first.state_dict().items():
            if name.rpartition(".")[0] not in changed:
                assert torch.equal(value, start.state_dict()[name]), name
        for layer in kept.pruned.layers:
            norms = filters_of(start.get_submodule(layer.conv)).flatten(1).norm(dim=1)
            gone = torch.zeros(len(norms), dtype=torch.bool)
            gone[list(layer.removed)] = True
            assert norms[gone].max() <= norms[~gone].min()
        start = model


def test_the_best_network_is_left_compact_and_answers_as_its_pass_does(trained, tmp_path):
    out = tmp_path / "pruned"
    found = prune(trained, out, Plan(0.25, 2, "all"), progress=False)
    small = bundles.load(out)
    assert small.pruned.compact and found.best > 0
    masked = bundles.load(out / f"pass{found.best}")
    assert masked.pruned.removed == small.pruned.removed and not masked.pruned.compact
    x = small.shape.example(5)
    with torch.no_grad():
        torch.testing.assert_close(small.build()(**x), masked.build()(**x), rtol=1e-4, atol=1e-4)
    best, first = found.passes[found.best], found.passes[0]
    assert best.parameters < first.parameters and best.macs < first.macs and best.bytes < first.bytes
    assert (out / "bundle.safetensors").stat().st_size == best.bytes
    rows = read_results(out / "passes.json")["rows"]
    assert [row["name"] for row in rows] == [each.row()["name"] for each in found.passes]
    assert rows[0]["removed_share"] == 0 and rows[1]["removed_share"] == pytest.approx(0.25, abs=0.01)
    assert f"{100 * best.validation:.2f} %" in found.text() and "kept" in found.text()


def test_a_network_that_was_pruned_before_keeps_what_it_has_lost(trained, tmp_path):
    prune(trained, tmp_path / "all", Plan(0.3, 1, "all"), {"fit.epochs": 1}, progress=False)
    before = bundles.load(tmp_path / "all" / "pass1")
    found = prune(tmp_path / "all" / "pass1", tmp_path / "layer", Plan(0.1, 1), {"fit.epochs": 1}, progress=False)
    after = bundles.load(tmp_path / "layer" / "pass1").pruned.removed
    assert all(set(gone) <= set(after[conv]) for conv, gone in before.pruned.removed.items())
    assert found.passes[0].removed == before.pruned.count < found.passes[1].removed


def test_what_is_finished_is_not_done_again_and_an_interruption_goes_on(trained, tmp_path, monkeypatch):
    whole = prune(trained, tmp_path / "whole", Plan(0.2, 2), progress=False)
    save, calls = fit_module.save_checkpoint, []

    def stop(path, state):
        save(path, state)
        calls.append(path)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_module, "save_checkpoint", stop)
    out = tmp_path / "parts"
    with pytest.raises(Interrupted):
        prune(trained, out, Plan(0.2, 2), progress=False)
    resumed = prune(trained, out, Plan(0.2, 2), progress=False)
    assert len(calls) == 6, "an epoch was trained twice"
    for a, b in zip(whole.passes[1:], resumed.passes[1:], strict=True):
        assert (a.validation, a.run.top1, a.sizes | {"bytes": 0}) == (b.validation, b.run.top1, b.sizes | {"bytes": 0})
        one, other = (bundles.load(each.run.out).state for each in (a, b))
        assert all(torch.equal(one[name], other[name]) for name in one)

    monkeypatch.setattr(pruning, "fit", lambda *_, **__: pytest.fail("a finished pass was trained again"))
    assert prune(trained, out, Plan(0.2, 2), progress=False).best == resumed.best
    with pytest.raises(KinemaError, match="another ratio"):
        prune(trained, out, Plan(0.3, 2), progress=False)
    with pytest.raises(KinemaError, match="another recipe"):
        prune(trained, out, Plan(0.2, 2), {"fit.epochs": 9}, progress=False)
    with pytest.raises(KinemaError, match="something else"):
        prune(trained, trained, Plan(0.2, 2), progress=False)


@pytest.mark.parametrize(
    ("figures", "best", "number", "early"),
    [
        ((0.8, 0.9, 0.7, 0.95, 0.6, 0.6, 1.0), 3, 5, True),
        ((0.8, 0.7, 0.79, 1.0), 0, 2, True),
        ((0.8, 0.8, 0.8, 0.8), 3, 3, False),
        ((0.5, 0.6, 0.55, 0.6, 0.5, 0.6), 5, 5, False),
    ],
)
def test_it_ends_when_two_passes_running_stay_below_the_best(trained, tmp_path, monkeypatch, figures, best, number, early):
    def a_pass(number, out, *_):
        result = read_run(trained).result | {"val_top1": figures[number]}
        bundles.save(bundles.load(trained), out / "compact.safetensors")
        return Pass(number, RunResult(out, result), number, 100, 1, 1, 1)

    monkeypatch.setattr(pruning, "_pass", a_pass)
    result = json.loads((trained / "result.json").read_text())
    kept = bundles.load(trained)
    bundles.save(replace(kept, result=kept.result | {"val_top1": figures[0]}), trained / "bundle.safetensors")
    assert result["selection"] == "validation"
    found = prune(trained, tmp_path / "pruned", Plan(0.01, len(figures) - 1, "all"), progress=False)
    assert (found.best, found.passes[-1].number) == (best, number)
    assert ("two passes running" in found.ended) == early


def test_a_pass_that_would_empty_a_layer_ends_the_pruning_and_the_first_one_refuses(trained, tmp_path):
    with pytest.raises(PruningError, match="would be all"):
        prune(trained, tmp_path / "none", Plan(0.97, 1), progress=False)
    assert not (tmp_path / "none").exists()
    found = prune(trained, tmp_path / "some", Plan(0.6, 5), {"fit.epochs": 1}, progress=False)
    assert len(found.passes) == 2 and "ended before pass 2" in found.ended


def test_superclasses_and_their_classifiers_go_along(tmp_path):
    recipe = replace(recipe_of(ema=0.0), hierarchy=HierarchyConfig(counts=(2, 0), restarts=5))
    run = fit(recipe, tmp_path / "run", progress=False)
    found = prune(run.out, tmp_path / "pruned", Plan(0.2, 2), {"fit.epochs": 1}, progress=False)
    for number in (1, 2):
        folder = tmp_path / "pruned" / f"pass{number}"
        assert (folder / "start" / "heads.safetensors").is_file() and not (folder / "first-pass").exists()
        assert bundles.load(folder).hierarchy == bundles.load(run.out).hierarchy
    assert bundles.load(found.out).hierarchy == bundles.load(run.out).hierarchy


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"data.fold": "cross-subject"}, "data.fold is 'cross-subject'"),
        ({"seed": 3}, "seed is 3"),
        ({"model.config.hidden": 0}, "the model, and where"),
        ({"fit.selection": "last"}, "fit.selection is last"),
        ({"fit.epoch": 3}, "did you mean 'fit.epochs'"),
    ],
)
def test_overrides_that_do_not_fit_are_told(trained, tmp_path, overrides, told):
    with pytest.raises(RecipeError, match=told):
        prune(trained, tmp_path / "pruned", Plan(), overrides, progress=False)
    assert not (tmp_path / "pruned").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"recipe": {}}, "fit.selection: validation is expected"),
        ({"result": {"selection": "refit", "val_top1": 1.0}}, "fit.selection: validation is expected"),
        ({"result": {"selection": "validation"}}, "fit.selection: validation is expected"),
    ],
)
def test_bundles_that_nothing_can_be_judged_of_are_told(trained, tmp_path, change, told):
    path = bundles.save(replace(bundles.load(trained), **change), tmp_path / "other.safetensors")
    with pytest.raises(RecipeError, match=told):
        prune(path, tmp_path / "pruned", Plan(), progress=False)


@pytest.mark.parametrize(("plan", "told"), [((0, 6), "ratio is 0"), ((1, 6), "ratio is 1"), ((0.1, 0), "passes is 0")])
def test_impossible_plans_are_told(plan, told):
    with pytest.raises(PruningError, match=told):
        Plan(*plan)
    with pytest.raises(PruningError, match="did you mean 'layer'"):
        Plan(scope="layers")


def test_a_compact_bundle_predicts_and_is_not_trained_on(trained, tmp_path, capsys):
    assert main(["prune", str(trained), "--ratio", ".3", "--passes", "1", "--fit.epochs", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["out"].endswith("run-pruned-layer") and [each["pass"] for each in told["passes"]] == [0, 1]
    compact = told["passes"][1]["out"] + "/compact.safetensors"
    assert main(["bundles", compact]) == 0
    assert "compact" in capsys.readouterr().out
    assert main(["prune", compact]) == 2
    assert "is compact" in capsys.readouterr().err
    recipe = recipe_of()
    with pytest.raises(RecipeError, match="is compact"):
        fit(replace(recipe, init=replace(recipe.init, bundle=compact)), tmp_path / "again", progress=False)
