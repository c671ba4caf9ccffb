"""The execution backend port and its adapters: local, Slurm, Kubernetes."""
