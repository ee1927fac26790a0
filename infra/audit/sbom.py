"""The software bills of materials of what is deployed, in CycloneDX's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cyclonedx.model import HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from chalicelib import VERSION
from infra.audit import ROOT, Outcome
from infra.audit.distributions import Distribution
from infra.audit.licences import licence_of


def bill(part: str, distributions: Iterable[Distribution]) -> str:
    """Return the bill of materials of a part of the product."""
    bom = Bom(components=[_component(one) for one in distributions])
    bom.metadata.component = Component(name=part, version=VERSION, type=ComponentType.APPLICATION)
    bom.register_dependency(bom.metadata.component, bom.components)
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


def _component(one: Distribution) -> Component:
    expression = licence_of(one.name)
    return Component(
        name=one.name,
        version=one.version,
        purl=PackageURL("pypi", name=one.name, version=one.version),
        bom_ref=f"{one.name}=={one.version}",
        hashes=[HashType.from_composite_str(digest) for digest in one.digests],
        licenses=[LicenseExpression(expression)] if expression else [],
    )


def write(shipped: Mapping[str, list[Distribution]]) -> Outcome:
    """Write the bill of each part below ``build``. A part without a component is a finding."""
    remarks = []
    for part, distributions in shipped.items():
        path = ROOT / "build" / f"{part}.cdx.json"
        path.write_text(bill(part, distributions) + "\n", encoding="utf-8")
        remarks.append(f"{path.relative_to(ROOT)} with {len(distributions)} components")
    return Outcome([f"{part} has no component" for part, ones in shipped.items() if not ones], ", ".join(remarks))
