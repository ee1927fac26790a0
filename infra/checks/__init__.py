"""Checks of the templates as a whole: order, network, time. Linters judge each resource by itself.

:mod:`.combinations` lists the ways in which a template can be deployed, :mod:`.graph` has the order of creation, and
:mod:`.rules` has the checks. ``python -m infra.checks`` runs all of them (decision 36).
"""
