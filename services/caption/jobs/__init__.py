"""Caption jobs: caption a dataset version, one work unit per shard, and seal the layer."""
