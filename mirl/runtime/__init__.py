"""What makes a sparse ticket fast on a CPU: kernels that skip what the mask cut away."""
