# Two commands on a fresh machine: `make reproduce` (the main job) and `make test`.
# Every other target is a job of its own; `make train` shows by hand what one seed of it does.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

.PHONY: reproduce reproduce-full labels train test slow check setup gallery bench bench-training clean

reproduce: setup  ## the whole paper on the simulated world, trained and judged: reports/world
	$(BIN)/evalsuite reproduce --config configs/reproduce/world.yaml --out runs/reproduce-world

reproduce-full: setup  ## the same with every grid and three seeds, under two hours: reports/world-full
	$(BIN)/evalsuite reproduce --config configs/reproduce/world-full.yaml --out runs/reproduce-world-full

labels: setup  ## every figure that human labels decide, on simulated labels: half a minute
	$(BIN)/evalsuite analyze all --out reports

WORLD := runs/world
SAMPLE = $(BIN)/evalsuite sample --data $(WORLD)/held_out.jsonl --k 1

train: setup  ## SFT, reward model and PPO on the simulated world, and what each is truly worth
	$(BIN)/evalsuite data posts --count 8000 --out $(WORLD)/posts.jsonl
	$(BIN)/evalsuite data posts --start 500000 --count 300 --out $(WORLD)/held_out.jsonl
	$(BIN)/evalsuite data posts --start 510000 --count 400 --out $(WORLD)/truth_posts.jsonl
	$(BIN)/evalsuite train sft --config configs/world/sft.yaml --out $(WORLD)/sft --resume
	$(BIN)/evalsuite sample --policy $(WORLD)/sft/model --data $(WORLD)/posts.jsonl --limit 2500 --k 4 --out $(WORLD)/samples.parquet
	$(BIN)/evalsuite sample --policy $(WORLD)/sft/model --data $(WORLD)/truth_posts.jsonl --k 3 --out $(WORLD)/truth_samples.parquet
	$(BIN)/evalsuite data label $(WORLD)/samples.parquet --posts $(WORLD)/posts.jsonl --pairs 6000 --reference-share .3 --out $(WORLD)/labels.jsonl
	$(BIN)/evalsuite data label $(WORLD)/truth_samples.parquet --posts $(WORLD)/truth_posts.jsonl --pairs 1000 --reference-share .3 --truth --out $(WORLD)/truth.jsonl
	$(BIN)/evalsuite train rm --config configs/world/rm.yaml --out $(WORLD)/rm --resume
	$(BIN)/evalsuite train ppo --config configs/world/ppo.yaml --out $(WORLD)/ppo --resume
	$(SAMPLE) --policy $(WORLD)/sft/model --temperature 0 --name sft_greedy --out $(WORLD)/sft_greedy.parquet
	$(SAMPLE) --policy $(WORLD)/sft/model --temperature .7 --name sft --out $(WORLD)/sft_t07.parquet
	$(SAMPLE) --policy $(WORLD)/sft/model --temperature 1 --name sft_t1 --out $(WORLD)/sft_t1.parquet
	$(SAMPLE) --policy $(WORLD)/ppo/model --temperature .7 --name ppo --out $(WORLD)/ppo_t07.parquet
	$(BIN)/evalsuite data utility $(WORLD)/sft_greedy.parquet $(WORLD)/sft_t1.parquet --posts $(WORLD)/held_out.jsonl --against sft_t1
	$(BIN)/evalsuite data utility $(WORLD)/sft_t07.parquet $(WORLD)/ppo_t07.parquet --posts $(WORLD)/held_out.jsonl --against sft

test: setup  ## the tests
	$(BIN)/python -m pytest -q -n 2

slow: setup  ## simulations of coverage, refitted bootstraps, kills, a run on real posts
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
