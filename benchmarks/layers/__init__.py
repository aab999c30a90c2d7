"""Time layer by layer, dense beside pruned, and what explains a layer that lost work but no time."""
