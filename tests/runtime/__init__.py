"""Tests of the Plan, the C runtime and its binding."""
