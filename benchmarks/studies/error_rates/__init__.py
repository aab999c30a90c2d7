"""How often a gate is wrong: planted slowdowns, measured and judged."""
