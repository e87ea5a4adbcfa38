"""Evol-Instruct: instructions made harder or rarer, round after round, and what is thrown out."""
