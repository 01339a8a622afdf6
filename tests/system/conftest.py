"""The findings of an invented study, and the page that is made of them."""

import pytest
from findings import findings

from fmnist.report import page
from fmnist.report.content import Content


@pytest.fixture(scope="module")
def found() -> Content:
    return findings(variants=6, seeds=2, rungs=(1, 3, 10))


@pytest.fixture(scope="module")
def text(found: Content) -> str:
    return page.render(found)
