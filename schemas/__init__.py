"""The ground: what data looks like. Errors, configuration, source frames, essentry's wire shapes.
Imports no sibling.
"""
