"""Caption jobs: a dataset version in work units of one shard each, until its layer is sealed."""
