"""Builds the Lambda's zip: ``python -m infra.package``, or ``make package``.

In this order: the pins of ``requirements.txt`` that hold on the Lambda (:mod:`.pins`) are installed as wheels for its
Python and its Linux, whatever runs here (:mod:`.install`); what a Lambda never reads is left out (:mod:`.needed`,
:mod:`.contents`, :mod:`.service_data`); the sources are compiled by a Python of the Lambda's version
(:mod:`.bytecode`); everything is written in a fixed order with fixed times, so that the same inputs give the same bytes
(:mod:`.archive`); the finished zip is checked (:mod:`.check`), and imported where this machine can (:mod:`.trial`).
Decision 8 says why Chalice's own packager does not do it.
"""
