"""Pages in a real browser: what they hold and what they look like."""

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

FORGERIES = (
    "</script><img src=x onerror=window.forged=1>",
    "</script><script>window.forged=1</script>",
    "<!--<script>",
    "javascript:window.forged=1",
)


def opened(browser: WebDriver, page: Path, place: str = "") -> None:
    """Opens a page anew, also where only the place in it differs."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(page.as_uri() + place)


def all_of(browser: WebDriver | WebElement, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one(browser: WebDriver | WebElement, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def each(browser: WebDriver, selector: str, value: str) -> list[Any]:
    """A value of every element ``e`` that a selector finds."""
    return browser.execute_script(f"return [...document.querySelectorAll(arguments[0])].map((e) => {value})", selector)


def texts(browser: WebDriver, selector: str) -> list[str]:
    """Texts of elements as they are in the document, shortened by nothing."""
    return each(browser, selector, "e.textContent")


def press(browser: WebDriver, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def soon(claim: Callable[[], bool]) -> None:
    """A claim that holds at once or, after an event of the browser, within five seconds."""
    end = time.monotonic() + 5
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.02)


def click_button(browser: WebDriver, text: str) -> None:
    next(button for button in all_of(browser, "button") if button.text == text).click()


def pixels_of(element: WebElement) -> np.ndarray:
    """What an element looks like."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB")).astype(int)


def colour_of(element: WebElement) -> np.ndarray:
    """What the middle of an element looks like."""
    picture = pixels_of(element)
    return picture[picture.shape[0] // 2, picture.shape[1] // 2]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    channels = np.array([int(number) for number in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
