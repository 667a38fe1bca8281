"""Training loop, which knows no method by name: it trains what a plan says, under the plan's mask."""
