"""Networked labs in which both ends of every connection are one row."""
