# Two commands are the entry: `make demo` and `make test`. Both set up .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
CONSTRAINTS ?= -c constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS)
STAMP := $(VENV)/.installed
DEMO := demo
SPEECH := examples/sample_speech
CLIP := $(SPEECH)/en1_happy_1.opus
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

# Where numbers are made: run again as they are made elsewhere.
NUMERIC := tests/model tests/pretrain tests/training tests/extraction tests/test_golden.py tests/test_hardware.py

.PHONY: help setup test test-slow test-variants test-ray test-interop test-browser test-mutation lint docs demo clean

help:
	@echo 'make demo       pretrain, extract, probe and predict on the sample speech, and show it on one page'
	@echo 'make test       the tests, slow ones left out'
	@echo 'make test-slow  the slow tests'
	@echo 'make test-variants  tests again as elsewhere: each library forced, AVX2 alone, signals ignored'
	@echo 'make test-ray   extraction on a Ray cluster of this machine (installs ray, 240 MB)'
	@echo 'make test-interop  other tools read what we write: FunASR, fairseq, transformers, S3PRL (builds for minutes)'
	@echo 'make test-browser  the page of `demo` in chromium (needs chromium and chromium-driver)'
	@echo 'make test-mutation  how many small faults the tests notice (about an hour)'
	@echo 'make lint       ruff and mypy'
	@echo 'make docs       the documentation as a site, docs/_build/html/index.html'
	@echo 'make setup      only install into $(VENV)'
	@echo 'make clean      remove what the targets made, but not $(VENV) and $(INTEROP)-*'

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt setup.py
	@echo '==> Installing into $(VENV)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	@touch $@

test: setup
	$(PYTEST) -m 'not slow'

test-slow: setup
	$(PYTEST) -m slow

test-variants: setup
	EMOTION2VEC_PRODUCTS=plain $(PYTEST) -m 'not slow' $(NUMERIC)
	EMOTION2VEC_PRODUCTS=onednn $(PYTEST) -m 'not slow' $(NUMERIC)
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m 'not slow' $(NUMERIC)
	trap '' INT TERM HUP; $(PYTEST) -m 'not slow' -k 'interrupt or ctrl_c or killed or signal or stopped'

test-ray: setup
	$(PIP) -e '.[dev,ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/extraction/test_ray.py tests/iterate/test_cluster.py

# Each tool has an environment of its own, since they want different versions of the same packages. torchaudio and
# torchvision are left out: the tests stand in for them (tests/interop/peers/stand_ins.py).
INTEROP := .venv-interop
INTEROP_PIP = $(INTEROP)-$*/bin/python -m pip install --quiet --disable-pip-version-check
FUNASR := funasr==1.4.16 transformers==5.23.0 accelerate==1.15.0 pytest
FAIRSEQ := hydra-core==1.3.2 omegaconf==2.3.0 cffi regex sacrebleu tqdm bitarray scikit-learn packaging
S3PRL := 'huggingface_hub<1' 'transformers<5' 'setuptools<81' tensorboardX pandas tqdm requests filelock

test-interop: setup $(INTEROP)-funasr/.installed $(INTEROP)-fairseq/.installed $(INTEROP)-s3prl/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m interop tests/interop
	OMP_NUM_THREADS=1 $(INTEROP)-funasr/bin/python -m pytest tests/integrations

$(INTEROP)-%/.installed: pyproject.toml
	@echo '==> Installing $* into $(INTEROP)-$*'
	test -x $(INTEROP)-$*/bin/python || $(PYTHON) -m venv $(INTEROP)-$*
	$(INTEROP_PIP) torch==2.13.0
	$(INTEROP)-$*/bin/python -m pip freeze | grep ^torch== | sed 's/+.*//' > $(INTEROP)-$*/constraints.txt
	$(MAKE) --no-print-directory install-$*
	$(INTEROP_PIP) -c $(INTEROP)-$*/constraints.txt -e .
	@touch $@

install-funasr: install-%:
	$(INTEROP_PIP) -c $(INTEROP)-$*/constraints.txt $(FUNASR)

install-fairseq: install-%:
	$(INTEROP_PIP) setuptools wheel cython numpy
	$(INTEROP_PIP) --no-deps --no-build-isolation fairseq-fixed==0.12.3.1
	$(INTEROP_PIP) -c $(INTEROP)-$*/constraints.txt $(FAIRSEQ)

install-s3prl: install-%:
	$(INTEROP_PIP) -c $(INTEROP)-$*/constraints.txt $(S3PRL)
	$(INTEROP_PIP) --no-deps s3prl==0.4.18

test-browser: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser -rs tests/serve

test-mutation: setup
	$(PIP) -e '.[dev,mutation]'
	$(BIN)/python tests/mutation/score.py --workers $(WORKERS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy emotion2vec

docs: setup
	$(BIN)/python -m sphinx -b html -j auto -W --keep-going -q docs docs/_build/html
	@echo 'docs/_build/html/index.html'

demo: setup
	@rm -rf $(DEMO)
	@echo '==> 1/5 Pretraining a tiny model on synthetic speech ($(SPEECH))'
	$(BIN)/emotion2vec pretrain --config configs/pretrain/tiny.yaml \
	  data.train=$(SPEECH) run.dir=$(DEMO)/run \
	  optim.max_updates=40 optim.warmup_updates=10 checkpoint.every=40 log.every=2
	$(BIN)/emotion2vec info $(DEMO)/run
	@echo '==> 2/5 Extracting one vector per utterance with it'
	$(BIN)/emotion2vec extract $(SPEECH) --model $(DEMO)/run --output $(DEMO)/features --granularity utterance
	@echo '==> 3/5 Probing the frozen features, leaving one speaker out at a time'
	$(BIN)/emotion2vec probe --table $(SPEECH)/metadata.tsv --root $(SPEECH) --model $(DEMO)/run \
	  --folds speaker --head logreg --output $(DEMO)/probe.json
	@echo '==> 4/5 Labelling the clips, and one of them over time, with the model that ships with the package'
	$(BIN)/emotion2vec predict $(SPEECH) --output $(DEMO)/labels.csv
	$(BIN)/emotion2vec predict $(CLIP) --window 0.5 --output $(DEMO)/over_time.csv
	@echo '==> 5/5 All of it on one page'
	@echo
	@echo 'Model     $(DEMO)/run'
	@echo 'Features  $(DEMO)/features/*.npy'
	@echo 'Scores    $(DEMO)/probe.json'
	@echo 'Labels    $(DEMO)/labels.csv'
	@echo 'The speech is synthetic and the model tiny: the scores show that everything runs, and nothing else.'
	@$(BIN)/python examples/demo_page.py $(DEMO)

clean:
	rm -rf $(DEMO) docs/_build docs/reference/modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find emotion2vec tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
