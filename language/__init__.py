"""Induced Model Matching on text and tables; holds nothing yet (see CHANGELOG for what is built)."""
