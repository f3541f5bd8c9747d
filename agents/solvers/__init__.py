"""POMDP solvers, one a file; `imm_rl.agents.solve` calls them by name."""
