"""Figures that are tables of numbers."""
