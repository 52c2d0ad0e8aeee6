"""Comparisons: one evaluation over several served models, and whether the differences are real.

`spec` says what to compare, `running` runs it, `assessing` finds the differences, `paired` and `resampling` are the
statistics, `gate` the decision, `speeds` lays measured speeds side by side, `folder` and `report` are what is left for
people and programs.
"""
