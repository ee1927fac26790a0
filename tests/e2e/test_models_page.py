"""The page for admins: what serves, what changes it, and what others see of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.support.api import PASSWORD, World

from .conftest import Visit
from .filled import ADMIN, V1, V2, V3, fits_its_width, practised, published, settled, sign_in_as_admin

pytestmark = pytest.mark.slow


@pytest.fixture
def at_models(visit: Visit, world: World) -> Visit:
    """An admin looks at three versions, after some practice."""
    sign_in_as_admin(visit, world)
    practised(world)
    published(world)
    visit.open("dashboard/models")
    settled(visit)
    return visit


def champion(world: World) -> tuple[str, bool]:
    found = world.registry.read_champion("default")
    assert found is not None
    return found[0].version, found[0].pinned


def test_a_student_gets_a_word_and_no_data(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    published(world)
    visit.sign_in_directly()
    refused: list[int] = []
    visit.page.on(
        "response", lambda answer: refused.append(answer.status) if answer.url.endswith("/versions") else None
    )
    visit.open("dashboard/models")
    expect(visit.page.locator("#admins-only")).to_contain_text("for admins")
    expect(visit.page.locator("#admin")).to_have_count(0)
    expect(visit.page.locator("main")).not_to_contain_text(V2)
    expect(visit.page.get_by_role("link", name="Models")).to_be_hidden()
    assert refused == [403]


def test_a_stranger_signs_in_and_comes_back(visit: Visit, world: World) -> None:
    account = {"email": ADMIN, "password": PASSWORD, "full_name": "Grace"}
    visit.page.request.post(f"{visit.url}/auth/register", data=account)
    world.identity.add_to_admins(ADMIN)
    visit.open("dashboard/models")
    visit.page.get_by_label("E-mail address").fill(ADMIN)
    visit.page.get_by_label("Password").fill(PASSWORD)
    visit.page.locator("#submit").click()
    expect(visit.page.get_by_role("heading", name="Models")).to_be_visible()
    expect(visit.page.get_by_role("link", name="Models")).to_have_attribute("aria-current", "page")
    expect(visit.page.locator("#versions")).to_contain_text("No version yet")
    expect(visit.page.locator("#serving")).to_contain_text("No version serves yet")
    expect(visit.page.locator("#drift")).to_contain_text("No student has finished")


def test_versions_say_what_they_are_and_why_one_was_not_promoted(at_models: Visit) -> None:
    page = at_models.page
    expect(page.locator("#serving")).to_contain_text(V2)
    newest = page.locator(".version").first
    expect(newest).to_contain_text(V3)
    expect(newest).to_contain_text("Not promoted: worse in log-loss")
    expect(newest).to_contain_text("LNIRT alone 0.480")
    expect(page.locator(".version", has_text=V2)).to_contain_text("Serving")
    expect(page.locator("#history tbody tr")).to_have_count(3)
    expect(page.locator("#history tbody tr").first).to_contain_text("enough new answers")


def test_drift_shows_fallbacks_by_window(at_models: Visit) -> None:
    page = at_models.page
    expect(page.locator("#drift .figure").first).to_contain_text("50 %")  # of 24: 6 by LNIRT, 6 by default
    expect(page.get_by_label("Answers in a window")).to_have_value("20")  # a hundred would be one window
    expect(page.locator("#drift tbody tr")).to_have_count(2)
    page.get_by_label("Answers in a window").select_option("50")
    expect(page.locator("#drift tbody tr")).to_have_count(1)
    expect(page.get_by_label("Answers in a window")).to_have_value("50")


def test_a_rollback_asks_first_and_moves_the_champion(at_models: Visit, world: World) -> None:
    page = at_models.page
    page.get_by_role("button", name=f"Let {V1} serve").click()
    expect(page.get_by_role("dialog")).to_contain_text(V1)
    page.get_by_role("button", name="Cancel").click()
    assert champion(world) == (V2, False)
    page.get_by_role("button", name=f"Let {V1} serve").click()
    page.get_by_role("dialog").get_by_role("button", name="Let it serve").click()
    expect(page.locator("#notices")).to_contain_text(f"{V1} serves")
    expect(page.locator("#serving")).to_contain_text(V1)
    assert champion(world) == (V1, False)


def test_pinning_and_unpinning_by_keyboard(at_models: Visit, world: World) -> None:
    page = at_models.page
    page.get_by_role("button", name=f"Pin {V1}").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # from the harmless answer, which has the focus, to the other
    page.keyboard.press("Enter")
    expect(page.locator("#serving")).to_contain_text("Pinned: trainings do not replace it")
    assert champion(world) == (V1, True)
    page.get_by_role("button", name="Unpin").click()
    page.keyboard.press("Escape")
    assert champion(world) == (V1, True)
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Unpin it").click()
    expect(page.locator("#serving")).to_contain_text("Not pinned")
    assert champion(world) == (V1, False)


def test_a_training_is_forced_once(at_models: Visit, world: World) -> None:
    at_models.failures_expected = True
    page = at_models.page
    for said in ("A training is queued", "queued or running already"):
        page.locator("#train").click()
        page.get_by_role("dialog").get_by_role("button", name="Train now").click()
        expect(page.locator("#notices")).to_contain_text(said)
    expect(page.locator("#training-state")).to_contain_text("queued")
    assert len(world.queue.messages) == 1


def test_the_counter_is_set_and_what_is_no_number_is_refused(at_models: Visit, world: World) -> None:
    page = at_models.page
    for text in ("", "-1", "1.5", "many"):
        page.get_by_label("Counter of new answers").fill(text)
        page.get_by_role("button", name="Set", exact=True).click()
        expect(page.locator("#value-error")).to_contain_text("whole number")
    page.get_by_label("Counter of new answers").fill("3")
    page.get_by_role("button", name="Set", exact=True).click()
    page.get_by_role("button", name="Set it").click()
    expect(page.locator("#counter")).to_have_text("3/5")
    assert world.database.tracker("default").n_samples_since_training == 3


def test_a_damaged_version_is_refused_and_said(at_models: Visit, world: World) -> None:
    at_models.failures_expected = True
    world.registry.damage("default", V1, "lnirt.json", b"{}")
    page = at_models.page
    page.get_by_role("button", name=f"Pin {V1}").click()
    page.get_by_role("button", name="Pin it").click()
    expect(page.locator("#notices")).to_contain_text("cannot be served")
    assert champion(world) == (V2, False)


def test_while_the_registry_is_away_the_rest_is_there_and_it_can_be_tried_again(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    sign_in_as_admin(visit, world)
    practised(world)
    published(world)
    world.registry.available = False
    visit.open("dashboard/models")
    expect(visit.page.locator("#versions")).to_contain_text("Could not be loaded")
    expect(visit.page.locator("#drift tbody tr")).to_have_count(2)
    world.registry.available = True
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator(".version")).to_have_count(3)


def test_the_page_fits_a_narrow_phone(at_models: Visit) -> None:
    at_models.page.set_viewport_size({"width": 340, "height": 700})
    fits_its_width(at_models.page)
