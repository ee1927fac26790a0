"""The models page: its figures and actions for admins, and what other students see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from chalicelib import wiring
from chalicelib.domain.accounts import COHORT_ADMIN_GROUP
from tests.support.api import World
from tests.support.archives import publish
from tests.support.page_data import ADMIN, V1, V2, V3, add_practice, publish_versions, sign_in_as_admin
from tests.support.visits import Visit

pytestmark = pytest.mark.slow


@pytest.fixture
def at_models(visit: Visit, world: World) -> Visit:
    """An admin on the models page, with three versions and some practice."""
    sign_in_as_admin(visit, world)
    add_practice(world)
    publish_versions(world)
    visit.open("dashboard/models")
    visit.expect_loaded()
    return visit


def champion(world: World) -> tuple[str, bool]:
    found = world.registry.read_champion("default")
    assert found is not None
    return found[0].version, found[0].pinned


def test_a_student_sees_a_message_and_no_data(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    publish_versions(world)
    visit.sign_in_directly()
    statuses: list[int] = []
    visit.page.on(
        "response", lambda response: statuses.append(response.status) if response.url.endswith("/versions") else None
    )
    visit.open("dashboard/models")
    expect(visit.page.locator("#admins-only")).to_contain_text("for admins")
    expect(visit.page.locator("#admin")).to_have_count(0)
    expect(visit.page.locator("main")).not_to_contain_text(V2)
    expect(visit.page.get_by_role("link", name="Models")).to_be_hidden()
    assert statuses == [403]


def test_an_admin_who_signs_in_comes_back_to_the_page(visit: Visit, world: World) -> None:
    visit.register(ADMIN)
    world.identity.add_to_admins(ADMIN)
    visit.open("dashboard/models")
    visit.sign_in(ADMIN)
    expect(visit.page.get_by_role("heading", name="Models")).to_be_visible()
    expect(visit.page.get_by_role("link", name="Models")).to_have_attribute("aria-current", "page")
    expect(visit.page.locator("#versions")).to_contain_text("No versions yet")
    expect(visit.page.locator("#serving")).to_contain_text("No version is serving yet")
    expect(visit.page.locator("#drift")).to_contain_text("No student has finished")


def test_an_admin_of_all_cohorts_chooses_the_one_to_look_at(visit: Visit, world: World) -> None:
    wiring.install(world.container("history", "physics"))
    publish(world.registry, "v-physics", "physics")
    sign_in_as_admin(visit, world)
    visit.open("dashboard/models")
    page = visit.page
    expect(page.locator("#versions")).to_contain_text("No versions yet")
    expect(page.get_by_label("Cohort")).to_have_value("default")
    page.get_by_label("Cohort").select_option("physics")
    expect(page.locator("#serving")).to_contain_text("v-physics")
    expect(page.get_by_label("Cohort")).to_have_value("physics")
    page.get_by_role("button", name="Train now").click()
    page.get_by_role("dialog").get_by_role("button", name="Train now").click()
    expect(page.locator("#notices")).to_contain_text("A training is queued")
    assert [request.cohort for request in world.queue.messages] == ["physics"]


def test_an_admin_of_one_cohort_has_no_choice(visit: Visit, world: World) -> None:
    wiring.install(world.container("history", "physics"))
    visit.register(ADMIN)
    world.identity.add_to_admins(ADMIN, COHORT_ADMIN_GROUP)
    visit.sign_in_directly(ADMIN)
    with visit.page.expect_response("**/model/cohorts"):
        visit.open("dashboard/models")
    expect(visit.page.locator("#versions")).to_contain_text("No versions yet")
    expect(visit.page.get_by_label("Cohort")).to_be_hidden()


def test_versions_show_their_metrics_and_why_one_is_refused(at_models: Visit) -> None:
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
    expect(page.get_by_label("Answers per window")).to_have_value("20")  # with 100 there would be one window
    expect(page.locator("#drift tbody tr")).to_have_count(2)
    page.get_by_label("Answers per window").select_option("50")
    expect(page.locator("#drift tbody tr")).to_have_count(1)
    expect(page.get_by_label("Answers per window")).to_have_value("50")


def test_calibration_by_group_is_a_folded_table(at_models: Visit) -> None:
    page = at_models.page
    page.locator("#groups summary").click()
    expect(page.locator("#groups tbody tr").first).to_contain_text("Source")
    expect(page.locator("#groups tbody")).to_contain_text("first answers")


def test_a_rollback_asks_first_and_moves_the_champion(at_models: Visit, world: World) -> None:
    page = at_models.page
    page.get_by_role("button", name=f"Serve {V1}").click()
    expect(page.get_by_role("dialog")).to_contain_text(V1)
    page.get_by_role("button", name="Cancel").click()
    assert champion(world) == (V2, False)
    page.get_by_role("button", name=f"Serve {V1}").click()
    page.get_by_role("button", name="Serve this version").click()
    expect(page.locator("#notices")).to_contain_text(f"{V1} now serves predictions")
    expect(page.locator("#serving")).to_contain_text(V1)
    assert champion(world) == (V1, False)


def test_a_version_is_pinned_and_unpinned_by_keyboard(at_models: Visit, world: World) -> None:
    page = at_models.page
    page.get_by_role("button", name=f"Pin {V1}").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # Cancel has the focus first
    page.keyboard.press("Enter")
    expect(page.locator("#serving")).to_contain_text("Pinned: trainings do not replace it")
    assert champion(world) == (V1, True)
    page.get_by_role("button", name="Unpin").click()
    page.keyboard.press("Escape")
    assert champion(world) == (V1, True)
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Unpin this version").click()
    expect(page.locator("#serving")).to_contain_text("Not pinned")
    assert champion(world) == (V1, False)


def test_a_second_forced_training_is_refused(at_models: Visit, world: World) -> None:
    at_models.failures_expected = True
    page = at_models.page
    for message in ("A training is queued", "queued or running already"):
        page.locator("#train").click()
        page.get_by_role("dialog").get_by_role("button", name="Train now").click()
        expect(page.locator("#notices")).to_contain_text(message)
    expect(page.locator("#training-state")).to_contain_text("queued")
    assert len(world.queue.messages) == 1


def test_the_panel_shows_each_step_of_a_training(at_models: Visit, world: World) -> None:
    page, database = at_models.page, world.database
    page.locator("#train").click()
    page.get_by_role("dialog").get_by_role("button", name="Train now").click()
    expect(page.locator("#training-state")).to_have_text("Training is queued")
    lease = datetime.now(UTC) + timedelta(minutes=5)
    progress = {"phase": "correctness", "epoch": 4, "epochs": 20}
    database.change_tracker("default", lease_expires_at=lease, progress=progress)
    expect(page.locator("#training-detail")).to_have_text("Learning to predict correctness, epoch 4/20")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "4")

    publish_versions(world)
    database.change_tracker(
        "default",
        training_request_id=None,
        lease_expires_at=None,
        progress=None,
        last_trained_at=datetime.now(UTC),
        n_samples_last_training=24,
        model_version=V1,
    )
    expect(page.locator("#training-news")).to_contain_text(f"model {V1} now makes the predictions")
    expect(page.locator("#model-version")).to_have_text(V1)


def test_a_new_version_appears_in_the_list(visit: Visit, world: World) -> None:
    sign_in_as_admin(visit, world)
    add_practice(world)
    visit.shorten_timers()
    visit.open("dashboard/models")
    expect(visit.page.locator("#versions")).to_contain_text("No versions yet")
    expect(visit.page.locator("#training-state")).to_have_text("Waiting")
    publish_versions(world)
    world.database.change_tracker("default", last_trained_at=datetime.now(UTC), model_version=V2)
    expect(visit.page.locator("#training-news")).to_contain_text(f"model {V2} now makes")
    expect(visit.page.locator(".version")).to_have_count(3)
    expect(visit.page.locator("#serving")).to_contain_text(V2)


def test_a_failed_training_is_explained_to_admins(at_models: Visit, world: World) -> None:
    world.database.change_tracker("default", last_error="the registry was away")
    at_models.page.reload()
    error = at_models.page.locator("#training-error")
    expect(error).to_have_text("The last training failed: the registry was away")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"training_seconds": 61.4}, "because the last one took 61 seconds."),
        ({"training_failures": 2, "last_error": "no disk"}, "because 2 trainings failed since the last success."),
    ],
)
def test_admins_read_why_a_training_waits(at_models: Visit, world: World, changes: dict[str, Any], why: str) -> None:
    counts = {"n_samples_since_training": 7, "n_samples_total": 12}
    world.database.change_tracker(
        "default", **counts, next_training_at=datetime(2031, 5, 17, 12, tzinfo=UTC), **changes
    )
    at_models.page.reload()
    expect(at_models.page.locator("#training-state")).to_have_text("Waiting")
    expect(at_models.page.locator("#training-detail")).to_contain_text("2031")
    expect(at_models.page.locator("#training-detail")).to_contain_text(why)


def test_the_counter_can_be_set_to_a_whole_number(at_models: Visit, world: World) -> None:
    page = at_models.page
    for text in ("", "-1", "1.5", "many"):
        page.get_by_label("Counter of new answers").fill(text)
        page.get_by_role("button", name="Set", exact=True).click()
        expect(page.locator("#value-error")).to_contain_text("whole number")
    page.get_by_label("Counter of new answers").fill("3")
    page.get_by_role("button", name="Set", exact=True).click()
    page.get_by_role("button", name="Set the counter").click()
    expect(page.locator("#counter")).to_have_text("3/5")
    assert world.database.tracker("default").n_samples_since_training == 3


def test_a_damaged_version_is_not_pinned(at_models: Visit, world: World) -> None:
    at_models.failures_expected = True
    world.registry.damage("default", V1, "lnirt.json", b"{}")
    page = at_models.page
    page.get_by_role("button", name=f"Pin {V1}").click()
    page.get_by_role("button", name="Pin this version").click()
    expect(page.locator("#notices")).to_contain_text("cannot be served")
    assert champion(world) == (V2, False)


def test_without_the_registry_the_other_sections_are_shown(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    visit.shorten_timers()
    sign_in_as_admin(visit, world)
    add_practice(world)
    publish_versions(world)
    world.registry.available = False
    visit.open("dashboard/models")
    expect(visit.page.locator("#versions")).to_contain_text("Could not be loaded")
    expect(visit.page.locator("#drift tbody tr")).to_have_count(2)
    world.registry.available = True
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator(".version")).to_have_count(3)


def test_one_click_loads_again_all_that_failed(visit: Visit, world: World) -> None:
    visit.failures_expected = True
    sign_in_as_admin(visit, world)
    add_practice(world)
    publish_versions(world)
    paths = ("analytics/drift", "analytics/groups", "model/versions")
    for path in paths:
        visit.page.route(f"**/{path}*", lambda route: route.fulfill(status=500, json={"detail": "no"}))
    visit.open("dashboard/models")
    card = visit.page.locator("section", has_text="Fallbacks and calibration")
    visit.expect_loaded()
    expect(card.get_by_text("Could not be loaded.")).to_have_count(1)
    expect(visit.page.locator("#versions")).to_contain_text("Could not be loaded.")
    for path in paths:
        visit.page.unroute(f"**/{path}*")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.page.locator("#drift tbody tr")).to_have_count(2)
    expect(visit.page.locator(".version")).to_have_count(3)
    expect(visit.page.get_by_text("Could not be loaded.")).to_have_count(0)


def test_the_page_fits_a_narrow_phone(at_models: Visit) -> None:
    at_models.page.set_viewport_size({"width": 340, "height": 700})
    at_models.expect_no_sideways_scrolling()
