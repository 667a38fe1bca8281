"""CPU kernels that skip pruned weights, which makes a sparse ticket fast."""
