"""Transcendental functions as polynomials, written once in the kernel language for f32 and f64 and any lanes.

Coefficients are Chebyshev interpolants computed with 60 digits; double-word arithmetic follows Dekker and Joldes et al.
"""
