"""Run by a test as a process of its own: a run on two processes. Argument: folder."""

import sys
from dataclasses import replace

from training_toys import register_toy, steady_recipe, toy_dataset, use_toy_data

from kinema.training.fit import fit

register_toy()
use_toy_data(toy_dataset())
recipe = steady_recipe()
fit(replace(recipe, engine=replace(recipe.engine, devices=2)), sys.argv[1], progress=False)
