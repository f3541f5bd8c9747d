"""Who acts: restricted policies, the solvers that make them, and the agents they help."""
