"""Induced Model Matching on text and tables; nothing is built yet."""
