"""The sandbox's console as people see it: requests, actions, the keyboard, phones, and dark mode."""

import asyncio
import re

import pytest
from browser.conftest import on_a_loop, playwright

from videoapi import VideoAPIError, VideoClient

pytestmark = pytest.mark.slow
expect = playwright.expect


def client_of(sandbox):
    return VideoClient(sandbox.app_id, sandbox.app_key, sandbox.base_url)


def create(sandbox, *names):
    async def work():
        async with client_of(sandbox) as client:
            for name in names:
                await client.rooms.create(name=name)

    on_a_loop(work)


async def loop_of(sandbox, work):
    """Run a coroutine on the sandbox's own loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, sandbox._loop))


def traffic(sandbox, hooks):
    """Every table and every tone of a badge."""

    async def work():
        async with client_of(sandbox) as client:
            names = ("Weekly stand-up", "Board meeting", "Interview: Ada Lovelace", "<script>alert(1)</script>")
            rooms = [await client.rooms.create(name=name) for name in names]
            sandbox.fault("rooms.get", "drop_before")
            sandbox.fault("rooms.list", 503)
            for room in rooms:
                await client.rooms.get(room.room_id)
                token = await client.tokens.create(room.room_id, name="Ada", user_ref="u-1", role="participant")
            sandbox.join(token.value)
            await client.rooms.list().to_list()
            with pytest.raises(VideoAPIError):
                await client.rooms.get("unknown")
            sandbox.conference(rooms[0].room_id, users=3, recorded=True)
            await client.cdr.by_period("2026-11-01", "2026-11-07").to_list()
            sandbox.fault("cdr.*", "throttle", times=3)
            announcer = sandbox._announcer
            for hooks.status, kind in ((200, "session-ended"), (204, "transcoded"), (503, "file-transfer")):
                await loop_of(sandbox, announcer.send(kind, rooms[0].room_id, "6a18c7e4", f"{hooks.url}?key=canary"))
            await loop_of(
                sandbox, announcer.send("recording-ready", rooms[0].room_id, "6a18c7e4", "http://127.0.0.1:9/")
            )

    on_a_loop(work)


def test_request_appears_as_it_comes(browse, sandbox):
    seen = browse()
    create(sandbox, "Stand-up")
    # On a machine that is not busy, within 0.2 s.
    expect(seen.row("requests", "/video/v2/rooms")).to_contain_text("POST")
    expect(seen.row("requests", "/video/v2/rooms")).to_contain_text("200")
    expect(seen.row("rooms", "Stand-up")).to_contain_text("permanent")
    expect(seen.page.locator("#figure-created")).to_have_text("1")


def test_names_are_text_and_run_nothing(browse, sandbox):
    seen = browse()
    name = "<img src=x onerror=alert(1)><script>document.title='taken'</script>"
    create(sandbox, name)
    expect(seen.row("rooms", name)).to_be_visible()
    assert seen.page.title() == "Sandbox console"
    assert seen.page.locator("table img, table script").count() == 0


def test_injected_fault_is_met_and_cancelled(browse, sandbox):
    seen = browse()
    page = seen.page
    page.get_by_label("Route").select_option("rooms.create")
    page.get_by_label("Fault", exact=True).select_option("status")
    page.get_by_label("Times").fill("")
    page.get_by_label("HTTP status").fill("400")
    page.get_by_role("button", name="Inject").click()
    seen.allow()
    expect(page.get_by_role("status")).to_contain_text("status on rooms.create")
    expect(page.locator("#faults")).to_contain_text("until it is cancelled")

    with pytest.raises(VideoAPIError):
        create(sandbox, "Stand-up")
    row = seen.row("requests", "/video/v2/rooms")
    expect(row).to_contain_text("400")
    expect(row).to_contain_text("status")
    expect(page.locator("#faults")).to_contain_text("1 met it")

    # The credentials are kept: this action asks nothing.
    page.get_by_role("button", name="Cancel status").click()
    expect(page.locator("#faults-empty")).to_be_visible()
    create(sandbox, "Stand-up")
    assert len(sandbox.ledger.rooms) == 1


def test_conference_starts_and_ends_with_call_records(browse, sandbox):
    seen = browse()
    page = seen.page
    create(sandbox, "Board meeting")
    expect(seen.row("rooms", "Board meeting")).to_be_visible()
    page.get_by_text("Start a conference").click()
    form = page.locator("form[data-action=start-session]")
    form.get_by_label("Room").select_option(index=1)
    form.get_by_label("Users").fill("3")
    form.get_by_role("button", name="Start").click()
    seen.allow()
    expect(seen.row("sessions", "Board meeting")).to_contain_text("User 2 (participant)")
    expect(seen.row("rooms", "Board meeting")).to_contain_text("active")

    page.get_by_role("button", name="End the conference in Board meeting").click()
    expect(seen.row("calls", "Board meeting")).to_contain_text("User")
    expect(page.locator("#calls-count")).to_have_text("newest 100 of 253")
    expect(page.locator("#archives")).to_contain_text("6")
    expect(page.locator("table[data-table=sessions]")).to_contain_text("No session is running")


def test_wrong_credentials_are_asked_for_again_and_kept_out_of_the_page(browse, sandbox):
    seen = browse()
    page = seen.page
    page.get_by_role("button", name="Enter credentials").click()
    seen.allow(credentials=False)
    expect(page.get_by_role("alert")).to_contain_text("APP_ID or APP_KEY is wrong")
    seen.allow()
    expect(page.get_by_role("status")).to_have_text("APP_ID and APP_KEY are right")
    assert sandbox.app_key not in page.content()
    assert page.get_by_label("APP_KEY").input_value() == ""
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert sandbox.app_key not in " ".join(seen.urls)
    # Chromium reports each response of 400 or above.
    assert len(seen.errors) == 1
    assert "401" in seen.errors.pop()


def test_clearing_asks_first(browse, sandbox):
    seen = browse()
    page = seen.page
    create(sandbox, "Stand-up")
    page.get_by_text("Clear the sandbox").click()
    clear = page.locator("form[data-action=clear]").get_by_role("button", name="Clear")
    clear.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Forget all rooms")
    # The safe choice has the focus.
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert len(sandbox.ledger.rooms) == 1
    clear.click()
    dialog.get_by_role("button", name="Clear").click()
    seen.allow()
    expect(page.locator("table[data-table=rooms]")).to_contain_text("No rooms yet")
    expect(page.locator("table[data-table=requests]")).to_contain_text("Send a request to")
    assert sandbox.ledger.rooms == {}


def test_fault_is_injected_with_the_keyboard_alone(browse, sandbox):
    seen = browse()
    page = seen.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to requests")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#requests")).to_be_focused()
    stops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => [document.activeElement.id, document.activeElement.ariaLabel, document.activeElement.tagName,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        stops.append(focused)
        assert focused[3] == "solid", focused
        if focused[0] == "fault-route":
            break
    assert [stop[0] for stop in stops][:2] == ["filter", "pause"]
    # The letters of a select choose among its options.
    page.keyboard.type("rooms.l")
    page.keyboard.press("Tab")
    page.keyboard.type("throttle")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("APP_KEY")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert sandbox._faults.active() == {}
    expect(page.get_by_role("button", name="Inject")).to_be_focused()
    page.keyboard.press("Enter")
    seen.allow()
    expect(page.locator("#faults")).to_contain_text("throttle")
    (fault,) = sandbox._faults.active().values()
    assert (fault.kind, fault.routes) == ("throttle", {"rooms.list"})


def test_every_control_has_a_name_and_every_id_is_used_once(browse, sandbox, hooks):
    seen = browse()
    traffic(sandbox, hooks)
    expect(seen.row("sessions", "script")).to_be_visible()
    nameless = seen.page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, a')]"
        ".filter(element => element.checkVisibility())"
        ".filter(element => !(element.textContent || element.ariaLabel || element.labels?.length))"
        ".map(element => element.outerHTML)"
    )
    assert nameless == []
    ids = seen.page.evaluate("() => [...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))


def test_webhook_is_sent_and_its_delivery_shown(browse, sandbox, hooks):
    seen = browse()
    page = seen.page
    expect(page.locator("#webhooks")).to_be_hidden()
    expect(page.get_by_role("link", name="Webhooks")).to_be_hidden()
    create(sandbox, "Board meeting")
    (room_id,) = sandbox.ledger.rooms
    expect(page.locator("#room-ids option")).to_have_attribute("value", room_id)
    page.get_by_text("Send a webhook").click()
    form = page.locator("form[data-action=webhook]")
    form.get_by_label("Kind").select_option("recording-ready")
    form.get_by_label("Room").fill(room_id)
    # Without a URL, the browser refuses to submit.
    form.get_by_role("button", name="Send").click()
    assert page.evaluate("() => document.activeElement.id") == "webhook-url"
    form.get_by_label("URL").fill(f"{hooks.url}?key=canary")
    form.get_by_role("button", name="Send").click()
    seen.allow()
    expect(page.get_by_role("status")).to_contain_text("HTTP 200 after")
    row = seen.row("webhooks", "recording")
    expect(row).to_contain_text("200")
    expect(row).to_contain_text(hooks.url)
    expect(page.get_by_role("link", name="Webhooks")).to_be_visible()
    assert "canary" not in page.locator("#webhooks").inner_html()
    ((body, authorization),) = hooks.received
    assert (body["type"], body["room_id"], authorization) == ("recording", room_id, None)

    hooks.status = 500
    form.get_by_label("Room").fill("typed-id")
    form.get_by_role("button", name="Send").click()
    expect(seen.row("webhooks", "500")).to_be_visible()
    assert hooks.received[1][0]["room_id"] == "typed-id"
    expect(page.locator("#webhooks-count")).to_have_text("2")

    sandbox.clear()
    expect(page.locator("#webhooks")).to_be_hidden()


def test_document_of_the_service_is_opened_from_the_page(browse, sandbox):
    seen = browse()
    with seen.page.context.expect_page() as opened:
        seen.page.get_by_role("link", name="OpenAPI document").click()
    opened.value.wait_for_load_state()
    assert opened.value.url == f"{sandbox.console_url}openapi.json"
    assert '"openapi":"3.1.0"' in opened.value.content().replace(" ", "")
    # The page keeps its stream, and the credentials that were typed into it.
    expect(seen.page.locator("#connection")).to_have_text("Live")


def test_traffic_is_shown_with_its_limit(browse, sandbox):
    sandbox.set(rate_limit="5/s")
    seen = browse()
    expect(seen.page.locator("#traffic-limit")).to_have_text("Limit 5/s")
    sandbox.fault("*", "throttle", times=2, retry_after=0)
    create(sandbox, "a", "b", "c")
    worst = sandbox.traffic().routes["rooms.create"].worst_second
    row = seen.row("traffic", "rooms.create")
    expect(row.locator("td").nth(1)).to_have_text(str(worst))
    expect(row.locator("td").nth(4)).to_have_text("5")
    expect(row.locator(".badge.warn")).to_have_text("2")
    expect(seen.row("traffic", "All routes")).to_be_visible()
    chart = seen.page.locator("#traffic-chart")
    expect(chart.locator("rect")).to_have_count(60)
    assert max(float(bar.get_attribute("height")) for bar in chart.locator("rect").all()) > 10
    expect(chart.locator("line")).to_have_count(1)
    sandbox.clear()
    expect(seen.page.locator("#traffic-recent")).to_contain_text("at most 0")
    expect(seen.page.locator("table[data-table=traffic]")).to_contain_text("No requests yet")


def test_filter_and_pause(browse, sandbox):
    seen = browse()
    page = seen.page
    create(sandbox, "Stand-up")
    expect(seen.row("requests", "POST")).to_be_visible()
    page.get_by_label("Filter requests").fill("tokens")
    expect(page.locator("table[data-table=requests]")).to_contain_text("No request matches")
    page.get_by_label("Filter requests").fill("post")
    expect(seen.row("requests", "POST")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    create(sandbox, "Another one")
    expect(seen.row("rooms", "Another one")).to_be_visible()
    assert page.locator("table[data-table=requests] tbody tr").count() == 1
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("table[data-table=requests] tbody tr")).to_have_count(2)


def test_focus_survives_updates(browse, sandbox):
    seen = browse()
    create(sandbox, "Stand-up")
    (room_id,) = sandbox.ledger.rooms
    sandbox._step(lambda: sandbox._store.start_session(room_id, 2))
    end = seen.page.get_by_role("button", name="End the conference in Stand-up")
    end.focus()
    for number in range(3):
        create(sandbox, f"Room {number}")
    expect(seen.row("rooms", "Room 2")).to_be_visible()
    expect(end).to_be_focused()


def test_focus_stays_at_the_table_when_its_row_ends(browse, sandbox):
    seen = browse()
    seen.page.get_by_text("Start a conference").click()
    seen.page.get_by_role("button", name="Start", exact=True).click()
    seen.allow()
    seen.page.get_by_role("button", name="End the conference in Console room").press("Enter")
    expect(seen.page.get_by_text("No session is running")).to_be_visible()
    expect(seen.page.get_by_role("region", name="Table of sessions")).to_be_focused()


def test_page_reconnects_when_the_sandbox_is_back(browse, sandbox):
    seen = browse()
    create(sandbox, "Stand-up")
    expect(seen.row("rooms", "Stand-up")).to_be_visible()
    # What the server did, without closing the port for long enough to lose it to another process.
    sandbox._loop.call_soon_threadsafe(sandbox._console._feed.close)
    create(sandbox, "Another one")
    expect(seen.row("rooms", "Another one")).to_be_visible(timeout=15_000)
    expect(seen.page.locator("#connection")).to_have_text("Live")


def hide(page, hidden):
    """Put a page into the background, which headless Chromium does with none of its own."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_page_in_the_background_keeps_no_connection(browse, sandbox):
    seen = browse()
    viewers = sandbox._console._feed._viewers
    assert len(viewers) == 1
    seen.page.get_by_label("HTTP status").fill("418")
    hide(seen.page, True)
    expect(seen.page.locator("#connection")).to_have_text("Paused")
    create(sandbox, "Created in the background")
    # The end of a stream is noticed with the next change.
    for _ in range(100):
        if not viewers:
            break
        seen.page.wait_for_timeout(50)
    assert not viewers
    hide(seen.page, False)
    expect(seen.page.locator("#connection")).to_have_text("Live")
    expect(seen.row("rooms", "Created in the background")).to_be_visible()
    expect(seen.row("requests", "/video/v2/rooms")).to_be_visible()
    expect(seen.page.get_by_label("HTTP status")).to_have_value("418")
    assert len(viewers) == 1


def test_seven_pages_of_one_browser_work_if_one_is_seen(browse, sandbox):
    first = browse()
    for _ in range(6):
        page = first.page.context.new_page()
        page.goto(sandbox.console_url)
        expect(page.locator("#connection")).to_have_text("Live")
        hide(page, True)
    create(sandbox, "Seen")
    expect(first.row("rooms", "Seen")).to_be_visible()
    first.page.get_by_role("button", name="Enter credentials").click()
    first.allow()
    expect(first.page.get_by_role("status")).to_contain_text("are right")


def test_phone_shows_the_path_of_a_request_without_scrolling(browse, sandbox):
    create(sandbox, "Stand-up")
    seen = browse(width=390, height=844, is_mobile=True, has_touch=True)
    with pytest.raises(VideoAPIError):
        on_a_loop(lambda: _get(sandbox, "6b0a2ac5c3cd613e30081504"))
    row = seen.row("requests", "6b0a2ac5c3cd613e30081504")
    expect(row).to_be_visible()
    path = row.locator("td.wide")
    box, region = path.bounding_box(), seen.page.get_by_role("region", name="Table of requests").bounding_box()
    assert box["x"] + box["width"] <= region["x"] + region["width"]
    assert path.evaluate("cell => cell.scrollWidth <= cell.clientWidth")


async def _get(sandbox, room_id):
    async with client_of(sandbox) as client:
        await client.rooms.get(room_id)


def test_page_of_another_origin_cannot_drive_or_read_the_console(browser, sandbox, other_page):
    page = browser.new_context().new_page()
    page.goto(other_page)
    # The API has no such rule, which shows that the sandbox can be reached from there.
    page.evaluate("url => fetch(url, {mode: 'no-cors'})", f"{sandbox.base_url}/rooms")
    assert sandbox.ledger.requests() == 1
    reached = page.evaluate(
        """async ([url, login]) => {
          const tries = [
            [`${url}console/events`, {}],
            [`${url}console/actions/start-session`, {method: "POST", body: "{}", mode: "no-cors"}],
            [`${url}console/actions/start-session`, {method: "POST", body: '{"users":1}', headers:
              {"Content-Type": "application/json", "Authorization": login}}],
          ];
          const results = [];
          for (const [target, options] of tries) {
            try { const response = await fetch(target, options); results.push([response.type, await response.text()]); }
            catch { results.push("denied"); }
          }
          return results;
        }""",
        [sandbox.console_url, "Basic x"],
    )
    assert reached == ["denied"] * 3
    assert sandbox.ledger.rooms == {}
    page.set_content(f"<iframe src='{sandbox.console_url}'></iframe>")
    page.wait_for_timeout(500)
    assert "Sandbox console" not in page.frames[-1].content()
    page.context.close()


@pytest.mark.parametrize("width", [320, 400])
def test_phone_scrolls_tables_within_themselves(browse, sandbox, hooks, width):
    traffic(sandbox, hooks)
    seen = browse(width=width, height=800, is_mobile=True, has_touch=True)
    expect(seen.row("requests", "unknown")).to_be_visible()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width
    assert seen.page.evaluate("() => document.querySelector('#requests .scroll').scrollWidth") > width
    labels = "[...document.querySelectorAll('.figures dt')]"
    assert seen.page.evaluate(f"{labels}.filter((label) => label.scrollWidth > label.clientWidth).length") == 0
    seen.page.get_by_role("button", name="Inject").tap()
    box = seen.page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def luminance(page, selector, name):
    color = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{name}")
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_have_contrast(browse, sandbox, hooks, scheme):
    traffic(sandbox, hooks)
    seen = browse(scheme=scheme)
    expect(seen.row("requests", "503")).to_be_visible()
    assert (luminance(seen.page, "body", "backgroundColor") < 0.1) == (scheme == "dark")
    for selector, ground in (
        ("td", ".panel"),
        ("th", ".panel"),
        (".muted", ".panel"),
        (".badge.ok", ".badge.ok"),
        (".badge.warn", ".badge.warn"),
        (".badge.bad", ".badge.bad"),
        ("form button[type=submit]", "form button[type=submit]"),
    ):
        text, back = (luminance(seen.page, *one) for one in ((selector, "color"), (ground, "backgroundColor")))
        contrast = (max(text, back) + 0.05) / (min(text, back) + 0.05)
        assert contrast >= 4.5, (selector, contrast)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_screenshots(browse, sandbox, hooks, screenshots, scheme, width):
    traffic(sandbox, hooks)
    phone = width < 500
    seen = browse(width=width, height=844 if phone else 900, scheme=scheme, is_mobile=phone, has_touch=phone)
    expect(seen.row("requests", "unknown")).to_be_visible()
    expect(seen.row("calls", "Weekly stand-up")).to_be_visible()
    expect(seen.row("webhooks", "Connection refused")).to_be_visible()
    for name, full_page in (("", False), ("-full", True)):
        path = screenshots / f"console-{scheme}-{width}{name}.png"
        seen.page.screenshot(path=path, full_page=full_page)
        assert path.stat().st_size > 10_000
