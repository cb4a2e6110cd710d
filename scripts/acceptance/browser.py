#!/usr/bin/env python3
"""The console in a real browser, on the demo's server: signs in, walks every page, approves, declines, makes a group.

browser.py [FOLDER]    FOLDER takes a picture of each page
Needs Python's playwright and a Chromium (TAILWATER_CHROMIUM, else the one in PATH), and a release build.
Fails when anything is written to the browser's console, when a request fails, or when an act has no effect.
"""
import os, pathlib, re, shutil, subprocess, sys, threading

from playwright.sync_api import sync_playwright

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TAILWATER_BINARY", str(PROJECT / "target/release/tailwater"))
CHROMIUM = os.environ.get("TAILWATER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pictures = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None


def demo():
    """The demo as it stays open after its story; the console's address and token."""
    process = subprocess.Popen([BINARY, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killer = threading.Timer(180, process.kill)
    killer.start()
    text = ""
    for line in process.stdout:
        text += line
        found = re.search(r"(http://\S+/)\s+Its token: (\S+)", text)
        if found:
            killer.cancel()
            return process, found.group(1), found.group(2)
    sys.exit("the demo ended before its console stayed open:\n" + text)


def walk(browser, url, token):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(15_000)
    troubles = []
    page.on("console", lambda m: troubles.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: troubles.append(f"error: {e}"))
    page.on("requestfailed", lambda r: troubles.append(f"failed: {r.url} {r.failure}") if "ERR_ABORTED" not in str(r.failure) else None)
    page.on("dialog", lambda d: d.accept())

    def picture(name):
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=str(pictures / f"{name}.png"), full_page=True)

    page.goto(url)
    page.fill("input[type=password]", "wrong")
    page.click("text=Sign in >> nth=-1")
    page.wait_for_selector("text=That token was not accepted.")
    # the refusal itself is what a browser writes down as an error
    assert all("401" in t for t in troubles), troubles
    troubles.clear()
    page.fill("input[type=password]", token)
    page.click("form button")
    page.wait_for_selector("text=Rate of the link")
    picture("status")

    # an answer that comes after its page was left changes nothing
    late = []
    page.route("**/api/v1/bandwidth", lambda route: late.append(route))
    page.click("nav >> text=Groups")
    page.wait_for_selector("text=New group")
    with page.expect_request("**/api/v1/bandwidth"):
        page.click("nav >> text=Status")
    page.click("nav >> text=Groups")
    page.wait_for_selector("text=New group")
    with page.expect_response("**/api/v1/bandwidth"):
        for route in late:
            route.continue_()
    page.unroute("**/api/v1/bandwidth")
    page.evaluate("fetch(location.pathname).then((answer) => answer.text())")
    assert page.locator("text=New group").count() == 1, "an answer of the page before was drawn over the page"

    page.fill("form input", "Pilot <b>& Co</b>")
    page.click("text=Create")
    page.wait_for_selector("td:has-text('Pilot <b>& Co</b>')")
    picture("groups")

    page.click("nav >> text=Updates")
    page.select_option("label:has-text('State') select", "unapproved")
    page.wait_for_selector("tbody input:not([disabled])")
    title = page.locator("tbody tr:has(input:not([disabled])) td.open").first.inner_text()
    page.locator("tbody input:not([disabled])").first.check()
    page.click("text=Approve…")
    page.select_option("dialog select >> nth=0", label="Pilot <b>& Co</b>")
    picture("approve")
    page.click("dialog button:has-text('Approve')")
    page.wait_for_selector("text=1 approved.")
    page.select_option("label:has-text('State') select", "approved")
    page.wait_for_selector(f"tr:has-text('Pilot <b>& Co</b>')")
    picture("updates")
    page.locator("tr:has-text('Pilot <b>& Co</b>') td.open").first.click()
    page.wait_for_selector("dialog h2:has-text('Files')")
    picture("update")
    page.click("dialog button:has-text('Close')")
    page.locator("tr:has-text('Pilot <b>& Co</b>') input").first.check()
    page.click("text=Decline…")
    page.click("dialog button:has-text('Decline')")
    page.wait_for_selector("text=1 declined.")
    page.select_option("label:has-text('State') select", "declined")
    page.wait_for_selector("tbody .tag.bad")

    page.click("nav >> text=Computers")
    page.wait_for_selector("tbody td.open")
    picture("computers")
    page.locator("tbody td.open").first.click()
    page.wait_for_selector("dialog h2:has-text('What it reported')")
    picture("computer")
    page.click("dialog button:has-text('Close')")
    page.click("nav >> text=Content")
    page.wait_for_selector("text=Verify what is cached")
    picture("content")
    page.click("nav >> text=Synchronisation")
    page.wait_for_selector("h2:has-text('History')")
    picture("sync")
    page.click("text=Synchronise now")
    page.wait_for_selector("tbody tr >> nth=1")
    page.click("nav >> text=Status")
    page.wait_for_selector("text=Rate of the link")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400, "the page is wider than a telephone"
    picture("status-narrow")
    page.click("text=Sign out")
    page.wait_for_selector("input[type=password]")
    assert not troubles, troubles
    return title


def main():
    process, url, token = demo()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            title = walk(browser, url, token)
            print(f"PASS the console in Chromium {browser.version}: signed in, every page, a group made, {title!r} approved and declined, no error in the browser's console")
            browser.close()
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
