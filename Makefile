# Two commands are the entry: `make demo` and `make test`. Both set up .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := demo
SPEECH := examples/sample_speech
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup test test-slow lint demo clean

help:
	@echo 'make demo       pretrain a tiny model on the sample speech, extract with it and probe it'
	@echo 'make test       the tests, slow ones left out'
	@echo 'make test-slow  the slow tests'
	@echo 'make lint       ruff and mypy'
	@echo 'make setup      only install into $(VENV)'
	@echo 'make clean      remove what the targets made, but not $(VENV)'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.py
	@echo '==> Installing into $(VENV)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: setup
	$(PYTEST) -m 'not slow'

test-slow: setup
	$(PYTEST) -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy emotion2vec

demo: setup
	@rm -rf $(DEMO)
	@echo '==> 1/4 Pretraining a tiny model on synthetic speech ($(SPEECH))'
	$(BIN)/emotion2vec pretrain --config configs/pretrain/tiny.yaml \
	  data.train=$(SPEECH) run.dir=$(DEMO)/run run.precision=fp32 \
	  optim.max_updates=40 optim.warmup_updates=10 checkpoint.every=40
	@echo '==> 2/4 What was trained'
	$(BIN)/emotion2vec info $(DEMO)/run
	@echo '==> 3/4 Extracting one vector per utterance'
	$(BIN)/emotion2vec extract $(SPEECH) --model $(DEMO)/run --output $(DEMO)/features --granularity utterance
	@echo '==> 4/4 Probing the frozen features, leaving one speaker out at a time'
	$(BIN)/emotion2vec probe --table $(SPEECH)/metadata.tsv --root $(SPEECH) --model $(DEMO)/run \
	  --folds speaker --head logreg --output $(DEMO)/probe.json
	@echo
	@echo 'Model     $(DEMO)/run'
	@echo 'Features  $(DEMO)/features/*.npy'
	@echo 'Scores    $(DEMO)/probe.json'
	@echo 'The speech is synthetic and the model tiny: the scores show that everything runs, and nothing else.'

clean:
	rm -rf $(DEMO) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find emotion2vec tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
