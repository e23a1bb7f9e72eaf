"""Opens a report in a headless browser, at two widths, light and dark, and says what is wrong.

usage: check_report.py PAGE [--screenshots FOLDER]

Prints one JSON object with what was found; exit code 1 and a line per complaint if the page
  - logs anything to the console, or asks for anything but itself and what it holds (data: URIs);
  - is wider than the window, or has text outside it, or a picture without size;
  - has a figure without a caption or a drawing, a drawing without a name, a table without headers;
  - has too little contrast, or does not follow the light or dark scheme.
"""

import argparse
import base64
import json
import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

WIDTHS = [390, 1280]
SCHEMES = ["light", "dark"]
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]

# Runs in the page; returns what it holds and what is wrong with it.
LOOK = """
const complaints = [], width = arguments[0];
const complain = (what, node) => complaints.push(what + ': ' + node.outerHTML.slice(0, 120));
const box = node => node.getBoundingClientRect();
if (document.documentElement.scrollWidth > width)
  complaints.push('scrolls sideways: ' + document.documentElement.scrollWidth + ' in ' + width);
if (document.documentElement.lang !== 'en' || !document.title) complaints.push('no language or no title');
for (const [tag, count] of [['h1', 1], ['main', 1], ['header', 1], ['footer', 1], ['script', 0]])
  if (document.querySelectorAll(tag).length !== count) complaints.push('not ' + count + ' ' + tag);

const figures = [...document.querySelectorAll('figure')];
for (const figure of figures) {
  const drawings = figure.querySelectorAll('svg, img, table');
  if (!drawings.length) complain('a figure without a drawing', figure);
  const caption = figure.querySelector('figcaption');
  if (!caption || !caption.textContent.trim()) complain('a figure without a caption', figure);
}
for (const drawing of document.querySelectorAll('svg, img, figure table')) {
  const {width, height} = box(drawing);
  if (!(width >= 8 && height >= 8)) complain('nothing to see', drawing);
}
for (const image of document.images) {
  if (!(image.complete && image.naturalWidth > 0)) complain('a broken image', image);
  if (!image.alt) complain('an image without a text', image);
}
for (const svg of document.querySelectorAll('svg')) {
  if (svg.getAttribute('role') !== 'img' || !svg.getAttribute('aria-label')) complain('a drawing without a name', svg);
  if (!svg.querySelector('line, polyline, polygon, circle, rect, path')) complain('an empty drawing', svg);
  const outer = box(svg);
  for (const text of svg.querySelectorAll('text')) {
    const inner = box(text);
    if (!text.textContent.trim()) continue;
    if (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 2 || inner.bottom > outer.bottom + 2)
      complain('text outside of its drawing', text);
    if (inner.height < 8) complain('text of ' + inner.height + ' pixels', text);
  }
}
for (const table of document.querySelectorAll('table'))
  if (!table.querySelector('th[scope]')) complain('a table without headers', table);
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
while (words.nextNode()) {
  if (!words.currentNode.data.trim()) continue;
  range.selectNodeContents(words.currentNode);
  for (const line of range.getClientRects())
    if (line.left < -1 || line.right > width + 1) { complain('text outside of the window', words.currentNode.parentElement); break; }
}

// Contrast as WCAG 2 has it.
const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const luminance = colour => {
  paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const style = getComputedStyle(document.documentElement), page = luminance(getComputedStyle(document.body).backgroundColor);
const contrast = name => {
  const [a, b] = [luminance(style.getPropertyValue('--' + name).trim()), page];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
};
for (const [names, least] of [[['ink', 'muted'], 4.5], [['mc-dropout', 'standard', 'correct', 'wrong', 'foreign', 'aleatoric', 'epistemic'], 3]])
  for (const name of names)
    if (!(contrast(name) >= least)) complaints.push('contrast of ' + name + ' is ' + contrast(name).toFixed(2));
return {complaints, page, figures: figures.map(f => f.querySelector('h3')?.textContent ?? ''),
        drawings: document.querySelectorAll('svg').length, images: document.images.length};
"""


def browser():
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    programs = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in programs:
        sys.exit("chromium and chromedriver are missing: run scripts/setup")
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(programs[1]))


def requests(driver):
    """Addresses that the page asked for since the last call."""
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def look(driver, url, width, scheme):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    driver.get(url)
    found = driver.execute_script(LOOK, width)
    if (found["page"] > 0.5) != (scheme == "light"):
        found["complaints"].append(f"the page is not {scheme}")
    found["complaints"] += [f"console: {entry['message']}" for entry in driver.get_log("browser")]
    found["complaints"] += [f"asked for {asked}" for asked in requests(driver) if asked != url and not asked.startswith("data:")]
    return found


def shoot(driver, path):
    size = driver.execute_script("return [window.innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=Path)
    parser.add_argument("--screenshots", type=Path)
    arguments = parser.parse_args()
    complaints, found = [], {}
    driver = browser()
    try:
        for width in WIDTHS:
            for scheme in SCHEMES:
                found = look(driver, arguments.page.resolve().as_uri(), width, scheme)
                complaints += [f"{width} {scheme}: {complaint}" for complaint in found["complaints"]]
                if arguments.screenshots:
                    shoot(driver, arguments.screenshots / f"{width}-{scheme}.png")
    finally:
        driver.quit()
    if complaints:
        sys.exit("\n".join(complaints))
    print(json.dumps({key: found[key] for key in ("figures", "drawings", "images")}))


if __name__ == "__main__":
    main()
