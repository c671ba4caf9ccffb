# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
# PyTorch's build is yours to choose: leave TORCH_INDEX empty for your package index's build, or
# set it to the index address that PyTorch's install page gives for CPU or for your CUDA version.
TORCH_INDEX ?=
WORKSPACE   ?= .demo
VLLM_BUILD  ?= cpu
# Test processes at a time; each may use a gigabyte of memory.
JOBS        ?= 4
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A file's tests stay together: they share what it starts.
PYTEST := $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-full vllm quick check fmt wire migration setup clean help

help:            ## what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: $(STAMP)  ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@[ -n "$(TORCH_INDEX)" ] || command -v nvidia-smi >/dev/null || echo \
	  "no GPU was found: if pip chooses PyTorch's CUDA build, TORCH_INDEX (see the Makefile) saves 6 GB"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[embedded,photos,dev]'
	-$(BIN)/vila2 triton install
	@touch $(STAMP)

demo: $(STAMP)   ## run the whole method on this machine, resuming where it stopped
	$(BIN)/vila2 demo --workspace $(WORKSPACE)

test: check      ## every check, and every test but the long ones
	$(PYTEST) -m 'not full'

test-full: $(STAMP) ## the long tests: crashes, chaos, fuzzing, whole runs
	$(PYTEST) -m full

vllm:            ## make vLLM's environment, for tests of it: VLLM_BUILD=cuda for GPUs
	PYTHON=$(PYTHON) TORCH_INDEX=$(TORCH_INDEX) deploy/vllm/install.sh .venv-vllm $(VLLM_BUILD)

quick: $(STAMP)  ## the tests that train nothing and start no server
	$(PYTEST) -n logical --maxprocesses $(JOBS) -m 'not slow'

check: $(STAMP)  ## lint, types, import rules, proto rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against baseline.binpb

fmt: $(STAMP)    ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wire: $(STAMP)   ## regenerate vila2/wire from proto/
	$(BIN)/python proto/generate.py

migration: $(STAMP) ## write a service's next migration: SERVICE=datasets NAME=add_x
	$(BIN)/python -m services.chassis.storage.new_migration $(SERVICE) $(NAME)
	$(BIN)/ruff check -q --fix services/$(SERVICE)/migrations
	$(BIN)/ruff format -q services/$(SERVICE)/migrations

clean:           ## remove the environment and the demo's workspace
	rm -rf $(VENV) $(WORKSPACE)
