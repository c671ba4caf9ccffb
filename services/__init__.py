"""The five services, their chassis, and `standalone`, which runs all of them in one process."""
