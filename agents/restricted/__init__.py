"""Restricted policies: they act on a belief or an observation, and are never trained here."""
