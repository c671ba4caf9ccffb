"""Caption layers: opened, filled shard by shard, sealed, compared, imported."""
