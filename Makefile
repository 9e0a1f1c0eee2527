# `make demo` and `make test` do everything on a fresh machine: they set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.setup-done

.PHONY: setup demo test lint clean

setup: $(SETUP)

# The tested versions are in constraints.txt. ONNX Runtime and LiteRT, for skeletons of videos, have no wheels for some machines. Ice, for
# the RoboComp component alone, is compiled where no wheel is at hand. Without them everything else is set up, and their tests skip.
$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kinema needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[pose]' || echo 'Without ONNX Runtime and LiteRT: no skeletons of videos.'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[prune]' || echo 'Without torch-pruning: no pruning by groups of channels.'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[robocomp]' || echo 'Without Ice: the RoboComp component is not set up.'
	touch $@

demo: $(SETUP)
	$(BIN)/kinema demo

test: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest

clean:
	rm -rf .venv build dist
