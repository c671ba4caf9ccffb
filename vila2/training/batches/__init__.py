"""From shards to the tensors of a training step: order, texts, packing, images."""
