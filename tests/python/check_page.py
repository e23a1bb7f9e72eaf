"""Uses the monitor's page in a headless browser, as a person with a keyboard would, and says what is wrong.

usage: check_page.py URL --axe FILE [--device NAME] [--pictures] [--patience SECONDS] [--screenshots FOLDER]

The page is looked at in two widths, light and dark; then its controls are used. What concerns the
other end is asked for: a line on standard output, "stop", "start" or "silence", has to be answered
with a line on standard input once the monitor has ended, has been started again at the same
address, or the device has stopped. Prints one JSON object with what was seen; exit code 1 and a line per complaint if the page
  - logs anything to the console, asks for anything but its own server's, or runs what a device sends;
  - is wider than the window, violates a rule of axe-core (WCAG 2.2 A and AA, best practices), or has too little contrast;
  - does not follow the stream, the keyboard, a restart of the monitor, or the silence of a device.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from selenium.common.exceptions import JavascriptException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from check_report import SCHEMES, WIDTHS, browser, requests, shoot

# Runs in the page; returns what is wrong with its looks.
LOOK = """
const complaints = [], width = arguments[0];
if (document.documentElement.scrollWidth > width)
  complaints.push('scrolls sideways: ' + document.documentElement.scrollWidth + ' in ' + width);
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
while (words.nextNode()) {
  const parent = words.currentNode.parentElement;
  if (!words.currentNode.data.trim() || parent.closest('.scroll, .strip, .hidden, .skip, dialog:not([open])')) continue;
  range.selectNodeContents(words.currentNode);
  for (const line of range.getClientRects())
    if (line.left < -1 || line.right > width + 1) { complaints.push('text outside of the window: ' + parent.outerHTML.slice(0, 120)); break; }
}
for (const image of document.images)
  if (image.complete && !image.naturalWidth) complaints.push('a broken image: ' + image.outerHTML.slice(0, 120));
return complaints;
"""

AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then(
  result => done(result.violations.map(v => 'axe ' + v.id + ': ' + v.help + ': ' + v.nodes.map(n => n.html.slice(0, 120)).slice(0, 3).join(' | '))),
  error => done(['axe failed: ' + error]));
"""


class Page:
    def __init__(self, driver, arguments):
        self.driver, self.arguments, self.complaints, self.seen = driver, arguments, [], {}

    def complain(self, what):
        self.complaints.append(what)

    def run(self, script, *arguments):
        try:
            return self.driver.execute_script(script, *arguments)
        except JavascriptException as error:  # an element that is missing, say
            return self.complain(f"the page has not what it should: {error.msg}")

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def number(self, term):
        """The figure under a heading of the health panel."""
        digits = self.run("return [...document.querySelectorAll('#health dt')].find(n => n.textContent === arguments[0])"
                          "?.nextElementSibling.textContent.replace(/\\D/g, '')", term)
        return int(digits or 0)

    def wait(self, what, holds, patience=None):
        """Waits until holds() is true, and complains where it does not become so."""
        deadline = time.monotonic() + (patience or self.arguments.patience)
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.05)
        self.complain(f"waited in vain: {what}")

    def focused(self):
        return self.run("return document.activeElement.id")

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def listed(self):
        return self.run("return [...document.querySelectorAll('#feed li')].map(n => [n.textContent, n.querySelector('.causes').textContent])") or []

    def resize(self, width, scheme):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def look(self, place):
        self.run(self.arguments.axe.read_text())
        # More come meanwhile, which may be on their way when it is looked.
        self.wait("all pictures loaded", lambda: self.run("return [...document.images].every(image => image.complete)"))
        found = (self.run(LOOK, self.run("return window.innerWidth")) or []) + self.driver.execute_async_script(AXE)
        self.complaints += [f"{place}: {complaint}" for complaint in found]

    def listen(self, expected=lambda message: False):
        """What the page logged and asked for since the last time."""
        origin = self.arguments.url.rstrip("/")
        self.complaints += [f"console: {entry['message']}" for entry in self.driver.get_log("browser") if not expected(entry["message"])]
        self.complaints += [f"asked for {asked}" for asked in requests(self.driver) if not asked.startswith((origin, "data:"))]

    @staticmethod
    def refused(message):
        """A connection that was refused while the monitor was away."""
        return "/events" in message and "net::ERR_" in message

    def ask(self, what):
        """Has the other end do something."""
        print(what, flush=True)
        sys.stdin.readline()

    # What is checked, one after the other.

    def opens(self):
        self.driver.get(self.arguments.url)
        self.wait("frames on the time line", lambda: self.run("return document.getElementById('aleatoric')?.getAttribute('d')"))
        self.wait("flagged frames in the list", self.listed)
        if self.arguments.device is not None and self.text("#device") != self.arguments.device:
            self.complain(f"the device is called {self.text('#device')}")
        if self.run("return document.querySelectorAll('h1 *, #feed img, #facts img').length + Object.hasOwn(window, 'injected')"):
            self.complain("what the device sent became markup")

    def follows(self):
        before = self.number("frames received")
        self.wait("more frames", lambda: self.number("frames received") > before)
        self.wait("a link that receives", lambda: self.text("#link") == "receiving")

    def pictures(self):
        if not self.arguments.pictures:
            return
        self.wait("pictures of flagged frames",
                  lambda: self.run("return [...document.querySelectorAll('#strip img')].filter(i => i.complete && i.naturalWidth > 0).length"))

    def time_line(self):
        self.press("t")
        if self.focused() != "line":
            self.complain(f"t goes to {self.focused()}")
        self.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        told = self.run("return document.getElementById('line').getAttribute('aria-valuetext')") or ""
        if not (told.startswith("Frame ") and "aleatoric" in told and told == self.text("#reading")):
            self.complain(f"the time line tells '{told}' and shows '{self.text('#reading')}'")
        self.press(Keys.ENTER)
        title = self.text("#detail-title")
        if self.focused() != "detail-title" or not told.startswith(str(title)):
            self.complain(f"Enter on '{told}' shows '{title}' and goes to {self.focused()}")
        self.press(Keys.ESCAPE)
        if self.focused() != "line":
            self.complain(f"Escape in the detail goes to {self.focused()}")
        self.press(Keys.ESCAPE)

    def feed(self):
        self.press("p")
        if self.run("return document.getElementById('pause').getAttribute('aria-pressed')") != "true":
            self.complain("p does not pause")
        frozen, before = self.listed(), self.number("frames received")
        self.press("f")
        if self.focused() != "feed":
            self.complain(f"f goes to {self.focused()}")
        self.press(Keys.HOME, Keys.ARROW_DOWN)
        chosen = self.run("const feed = document.getElementById('feed');"
                          "return document.getElementById(feed.getAttribute('aria-activedescendant'))?.children[1].textContent")
        if not chosen or chosen != frozen[1][0][len("00:00:00"):][:len(chosen)] or chosen.lower() != str(self.text("#detail-title")).lower():
            self.complain(f"the second of the list is '{frozen[1][0]}', chosen is '{chosen}', shown is '{self.text('#detail-title')}'")
        measures = self.run("return [...document.querySelectorAll('#detail tbody tr')].map(n => n.textContent)") or []
        if len(measures) < 15 or any("–" in row for row in measures):
            self.complain(f"measures: {measures}")
        self.press(Keys.ENTER)
        if self.focused() != "detail-title":
            self.complain(f"Enter in the list goes to {self.focused()}")
        self.press(Keys.ESCAPE)
        if self.focused() != "feed":
            self.complain(f"Escape in the detail goes to {self.focused()}")
        self.seen["detail"] = measures

        # By cause, with the keyboard: from the text field back over the classes.
        cause = "occluded"
        self.press("/")
        if self.focused() != "text":
            self.complain(f"/ goes to {self.focused()}")
        self.driver.switch_to.active_element.send_keys(cause)
        by_text = self.listed()
        if not by_text or not all(cause in causes for _, causes in by_text):
            self.complain(f"'{cause}' as text finds {by_text[:3]}")
        expected = [row for row in frozen if cause in row[1]]
        if by_text[:len(expected)] != expected:
            self.complain(f"'{cause}' as text finds {len(by_text)} frames that are not those of the list")
        self.press(Keys.ESCAPE)
        if len(self.listed()) != len(frozen):
            self.complain("Escape does not clear the text filter")
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB, Keys.TAB).key_up(Keys.SHIFT).perform()
        if self.focused() != "cause":
            self.complain(f"two tabs back from the text is {self.focused()}")
        self.press("occ")
        if self.listed() != by_text:
            self.complain(f"'{cause}' as cause finds {len(self.listed())} frames, as text {len(by_text)}")
        self.press(Keys.TAB, Keys.TAB, Keys.TAB, Keys.ENTER)
        self.wait("Clear to clear", lambda: len(self.listed()) == len(frozen), 1)
        self.wait("a live health panel during a pause", lambda: self.number("frames received") > before)
        if self.listed() != frozen:
            self.complain("a pause does not keep the list")
        self.press("p")

    def help(self):
        self.run("document.getElementById('help-open').focus()")
        self.press("?")
        if not self.run("return document.getElementById('help').open"):
            self.complain("? does not open the help")
        self.look("help")
        self.press(Keys.ESCAPE)
        if self.run("return document.getElementById('help').open") or self.focused() != "help-open":
            self.complain("Escape does not close the help, or forgets where the keyboard was")

    def announcements(self):
        self.wait("an announcement of flags", lambda: "new flag" in str(self.text("#announcement")))

    def looks(self):
        self.run("document.getElementById('figures').open = true")
        for width in WIDTHS:
            for scheme in SCHEMES:
                self.resize(width, scheme)
                self.wait("a time line as wide as its place", lambda: self.run(
                    "const d = document.getElementById('drawing'); return d.viewBox.baseVal.width === d.parentElement.clientWidth"))
                self.look(f"{width} {scheme}")
                if self.arguments.screenshots:
                    shoot(self.driver, self.arguments.screenshots / f"{width}-{scheme}.png")

    def restart(self):
        self.listen()
        began = self.number("frames received")
        self.ask("stop")
        self.wait("a banner without a monitor", lambda: self.run("return !document.getElementById('banner').hidden"))
        self.ask("start")
        self.wait("the banner to go", lambda: self.run("return document.getElementById('banner').hidden"))
        self.wait("frames of the new monitor alone", lambda: 0 < self.number("frames received") < began)
        # Its connection was refused meanwhile, as it had to be.
        self.listen(Page.refused)

    def silence(self):
        self.ask("silence")
        told = self.wait("'no signal'", lambda: (text := str(self.text("#link"))).startswith("no signal for") and text, 15)
        self.seen["link"] = told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--axe", type=Path, required=True)
    parser.add_argument("--device")
    parser.add_argument("--pictures", action="store_true", help="the device sends pictures of flagged frames")
    parser.add_argument("--patience", type=float, default=8, help="seconds in which something has to show")
    parser.add_argument("--screenshots", type=Path)
    arguments = parser.parse_args()
    if not urlsplit(arguments.url).hostname:
        parser.error("a URL is needed")
    driver = browser()
    page = Page(driver, arguments)
    try:
        page.resize(1280, "light")
        for step in [page.opens, page.follows, page.pictures, page.time_line, page.feed, page.help, page.announcements,
                     page.restart, page.silence]:
            # What is broken already would be broken differently by what follows.
            if not page.complaints:
                began = time.monotonic()
                step()
                page.seen[f"{step.__name__} took"] = round(time.monotonic() - began, 2)
        page.looks()
        page.listen(Page.refused)
    finally:
        driver.quit()
    if page.complaints:
        sys.exit("\n".join(page.complaints))
    print(json.dumps(page.seen))


if __name__ == "__main__":
    main()
