"""The ticket: network spec, weights, the mask they were trained under, routing and lineage; and its file."""
