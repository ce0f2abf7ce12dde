# Two commands on a fresh machine: `make reproduce` (the main job) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

.PHONY: reproduce test slow check setup gallery bench bench-training clean

reproduce: setup  ## every figure that human labels decide, on the embedded simulated world
	$(BIN)/evalsuite analyze all --out reports

test: setup  ## the tests
	$(BIN)/python -m pytest -q -n 2

slow: setup  ## simulations of coverage and the refitted bootstraps
	$(BIN)/python -m pytest -q -m slow -s

check: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict evalsuite trainers

gallery: setup  ## figures of the real labels in DATA, into reports/gallery
	$(BIN)/evalsuite analyze preference length_control human_best_of_n --data $(DATA)/tldr_feedback/pairs_batch3_to_10.jsonl --out reports/gallery/training_pairs
	$(BIN)/evalsuite analyze all --data $(DATA)/tldr_feedback/comparisons --out reports/gallery/evaluation
	$(BIN)/evalsuite analyze preference length_control agreement copying rouge --data $(DATA)/tldr_posts/posts.jsonl --out reports/gallery/judged_posts
	$(BIN)/evalsuite analyze all --data $(DATA)/summeval/summeval.jsonl --out reports/gallery/summeval
	$(BIN)/evalsuite analyze length_control --data $(DATA)/alpaca_eval/annotations.csv.gz --set form=alpaca_eval --out reports/gallery/alpaca_eval

bench: setup  ## claims of speed, each beside the peer that it names
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/rouge.py
	$(BIN)/python benchmarks/copying.py
	$(BIN)/python benchmarks/length_control.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/sampling.py

bench-training: setup  ## the trainers beside TRL's, which gets environments of its own (gigabytes)
	$(BIN)/python benchmarks/training.py

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo "setting up $(VENV): a minute or more, most of it torch"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:  ## remove the virtual environment and generated reports
	rm -rf $(VENV) *.egg-info
	git clean -fdX reports
