"""Encoders, adapters, fusion and heads."""
