# Everything sets itself up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OVERLAY := $(VENV)-transformers5
SPARK := $(VENV)-spark

.PHONY: demo test test-peers test-transformers-5 test-spark clean

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

$(OVERLAY)/.ready: $(READY)
	rm -rf $(OVERLAY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(OVERLAY) 'transformers>=5,<6'
	touch $@

test-spark: $(READY)  ## tests of the extra `spark`; skipped where Java or pyspark cannot be had
	@if ! command -v java >/dev/null; then echo "tests of Spark skipped: no java; Spark 4 needs 17 or 21"; \
	elif ! $(MAKE) --no-print-directory $(SPARK)/.ready; then echo "tests of Spark skipped: no pyspark"; \
	else PYTHONPATH=$(CURDIR)/$(SPARK):$(PYTHONPATH) $(BIN)/pytest tests/train/spark; fi

$(SPARK)/.ready: $(READY)
	rm -rf $(SPARK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(SPARK) 'pyspark>=4.0,<4.1' pandas
	touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "edgebehave needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,train,export,llm,llm-onnx,cli,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) $(VENV)-peers $(OVERLAY) $(SPARK) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
