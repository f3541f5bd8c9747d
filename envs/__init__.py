"""POMDP/MDP environment pairs: one tabular model, a view that sees the state and one that does not."""
