"""The review in a real browser, as a catalog manager uses it: with the mouse, with keys, on a desk and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from prodcat.catalog.store import Catalog
from prodcat.recategorization.changes import Split
from prodcat.recategorization.decisions import read_decided
from prodcat.reviewing.app import review_app
from prodcat.reviewing.run import decide_by_hand

from .page import DESK, PHONE, Page


@pytest.fixture
def page(browser: Any, folder: Path, catalog: Catalog, served: Callable[[FastAPI], str]) -> Page:
    browser.get_log("browser")
    return Page(browser, served(review_app(folder, catalog)))


def test_a_catalog_manager_edits_moves_notes_and_decides_and_finds_it_again(page: Page, folder: Path, tmp_path: Path) -> None:
    assert [line.text for line in page.all("#list .badge.kind-split")] == ["split"]
    assert page.text("#summary") == "6 open · 0 accepted · 0 rejected"
    page.open("split")
    assert "fall into 2 clusters" in page.text(".reason")
    page.wait("[...document.querySelectorAll('.tile img')].filter(each => each.complete && each.naturalWidth > 0).length > 8")

    # The name is asked once, before the first decision.
    page.type("input[data-part='0']", "Short Boots")
    page.press("\ue007")
    page.wait("document.querySelector('#asking').open")
    page.type("#name", "Ada Lovelace")
    page.click("#name-ok")
    assert "rename part 0 to 'Short Boots'" in page.history(1)[0]
    tiles = page.all("[data-group='0'] .tile")
    moved = [tile.get_attribute("data-key") for tile in tiles[:2]]
    for tile in tiles[:2]:
        tile.click()
    assert page.text("#choice strong") == "2 chosen"
    page.click("#move")
    assert "moved 2 from Short Boots to Rain Boots" in page.history(2)[0]
    assert {tile.get_attribute("data-key") for tile in page.all("[data-group='1'] .tile")} >= set(moved)
    out = page.find("[data-group='1'] .tile")
    taken = out.get_attribute("data-key")
    out.click()
    page.click("#take-out")
    page.history(3)
    assert [tile.get_attribute("data-key") for tile in page.all("[data-group='out'] .tile")] == [taken]
    page.type("#note", "The buyers agree.\n<b>Ask again in spring.</b>")
    page.click("#add-note")
    page.history(4)
    page.click("#accept")
    page.status("accepted")
    assert "Ada Lovelace" in page.text("#top")

    page.open("merge")
    page.run("document.activeElement.blur()")
    page.press("r")
    page.status("rejected")
    assert page.text("#summary") == "4 open · 1 accepted · 1 rejected"

    page.load("#split")
    page.status("accepted")
    assert page.find("input[data-part='0']").get_property("value") == "Short Boots"
    assert page.find("input[data-part='0']").get_property("disabled")
    lines = page.history(5)
    assert all(line.startswith("Ada Lovelace") for line in lines)
    assert "<b>Ask again in spring.</b>" in lines[1]
    assert page.text("#list button[data-id='merge'] .status-rejected") == "rejected"

    decided = read_decided(folder)
    assert [(entry.proposal, entry.action) for entry in decided.entries] == [
        ("split", "rename"),
        ("split", "move"),
        ("split", "move"),
        ("split", "note"),
        ("split", "accept"),
        ("merge", "reject"),
    ]
    assert {entry.by for entry in decided.entries} == {"Ada Lovelace"}
    assert all(entry.at[:2] == "20" and entry.at[-6] in "+-" for entry in decided.entries)
    (change,) = decided.changes
    assert isinstance(change, Split)
    assert [part.name for part in change.parts] == ["Short Boots", "Rain Boots"]
    assert set(moved) <= set(change.parts[1].products)
    assert not any(taken in part.products for part in change.parts)
    assert page.complaints() == []


def test_keys_go_through_proposals_edit_names_and_decide(page: Page, folder: Path) -> None:
    page.open("split")
    page.run("localStorage.setItem('prodcat-reviewer', 'Grace')")
    page.load("#split")
    page.wait("document.querySelector('#state') !== null")
    page.press("j")
    page.wait("location.hash === '#add'")
    page.press("e")
    page.press("Loafers\ue007")
    page.wait("document.querySelector('#proposed') !== null")
    page.press("a")
    page.status("accepted")
    page.press("o")
    page.status("open")
    page.press("k")
    page.wait("location.hash === '#split'")
    page.press("?")
    page.wait("document.querySelector('#help').open")
    page.press("\ue00c")
    assert [(entry.action, entry.name) for entry in read_decided(folder).entries] == [("rename", "Loafers"), ("accept", None), ("reopen", None)]
    assert page.complaints() == []


def test_a_name_that_is_still_being_typed_is_kept_by_who_accepts_and_a_bad_one_stops_it(page: Page, folder: Path) -> None:
    page.run("localStorage.setItem('prodcat-reviewer', 'Ada')")
    page.load("#split")
    page.type("input[data-part='0']", "Low > High")
    page.click("#accept")
    page.wait("document.querySelector('#toast').textContent.includes('cannot be a category')")
    assert page.find("input[data-part='0']").get_property("value") == "Ankle Boots"
    assert page.text("#state") == "open"
    page.type("input[data-part='0']", "Low Boots")
    page.click("#accept")
    page.status("accepted")
    assert [(entry.action, entry.name) for entry in read_decided(folder).entries] == [("rename", "Low Boots"), ("accept", None)]


def test_shift_chooses_a_range_and_escape_none(page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    page.open("add")
    tiles = page.all("[data-group='0'] .tile")
    tiles[1].click()
    ActionChains(page.driver).key_down("\ue008").click(tiles[5]).key_up("\ue008").perform()
    assert page.text("#choice strong") == "5 chosen"
    assert [tile.get_attribute("aria-pressed") for tile in tiles[:7]] == ["false", *["true"] * 5, "false"]
    page.press("\ue00c")
    page.wait("document.querySelector('#choice').hidden")


def test_a_decision_that_came_too_late_is_told_and_the_page_shows_what_happened(page: Page, folder: Path) -> None:
    page.run("localStorage.setItem('prodcat-reviewer', 'Ada')")
    page.load("#rename")
    page.status("open")
    decide_by_hand(folder, "rename", "accept", by="Grace")
    page.click("#reject")
    page.status("accepted")
    assert "was decided on meanwhile: Grace: accept" in page.text("#toast")
    assert "Grace" in page.history(1)[0]


def test_accepted_proposals_that_clash_are_said_and_the_preview_shows_the_tree(page: Page, folder: Path) -> None:
    for name in ("split", "merge", "clash"):
        decide_by_hand(folder, name, "accept", by="Ada")
    page.load("#split")
    assert "both change 'Footwear > Shoes > Boots'" in page.text("#banner")
    page.click("#banner button")
    page.wait("location.hash === '#clash'")
    page.click("#previewing")
    page.wait("document.querySelector('#preview').open")
    assert "Footwear > Shoes > Boots > Rain Boots" in page.text("#tree")
    page.fits()
    page.press("\ue00c")


def test_what_shops_write_is_shown_and_never_run(page: Page) -> None:
    page.open("split")
    assert "<x-owned" in page.text(".term:nth-of-type(3)")
    page.type("[data-group='1'] .search", "x-owned")
    page.press("\ue007")
    page.wait("document.querySelectorAll('[data-group=\"1\"] .tile').length === 1")
    assert "<x-owned" in page.text("[data-group='1'] .tile .title")
    page.open("add")
    assert "<x-owned" in page.text(".reason")
    assert page.run("return document.querySelectorAll('x-owned').length") == 0
    assert page.complaints() == []


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_nothing_is_wider_than_the_window(page: Page, size: tuple[int, int], folder: Path, tmp_path: Path) -> None:
    decide_by_hand(folder, "merge", "reject", by="Ada", note="x" * 400)
    page.look(size)
    page.load("")
    page.fits()
    page.driver.save_screenshot(str(tmp_path / f"list-{size[0]}.png"))
    for proposal in ("merge", "split"):
        page.load(f"#{proposal}")
        page.wait("document.querySelectorAll('.tile').length > 5")
        page.fits()
    page.find("[data-group='0'] .tile").click()
    page.wait("[...document.querySelectorAll('.tile img')].some(each => each.complete && each.naturalWidth > 0)")
    page.fits()
    page.driver.save_screenshot(str(tmp_path / f"split-{size[0]}.png"))
    if size == PHONE:
        page.click("#back")
        page.wait("document.querySelector('#side').offsetWidth > 0")
    assert page.complaints() == []


def test_everything_that_is_pressed_has_a_name(page: Page) -> None:
    page.open("split")
    assert "null" not in page.text("#detail")
    assert "undefined" not in page.text("#detail")
    nameless = page.run(
        "return [...document.querySelectorAll('button, input, select, textarea, img')]"
        ".filter(each => !(each.getAttribute('aria-label') || each.labels?.length"
        " || each.textContent.trim() || each.hasAttribute('alt'))).map(each => each.outerHTML)"
    )
    assert nameless == []
