"""The review's page as a test drives it."""

import json
from typing import Any

DESK, PHONE = (1280, 900), (390, 844)


class Page:
    """The review's page in a browser, in the words of who uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address
        self.look(DESK)
        driver.get(address + "/")
        self.run("localStorage.clear()")
        self.load("")

    def load(self, rest: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(self.address + "/" + rest)
        self.wait("document.querySelectorAll('#list button[data-id]').length")

    def look(self, size: tuple[int, int]) -> None:
        """A window may not be as narrow as a phone: the page is told to be."""
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20, 0.05).until(lambda driver: driver.execute_script(f"return {condition}"), condition)

    def find(self, selector: str) -> Any:
        self.wait(f"document.querySelector({json.dumps(selector)})")
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def press(self, keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(keys)

    def type(self, selector: str, text: str) -> None:
        # As people do: all of the field is chosen and written over.
        self.find(selector).send_keys("\ue009a\ue009", text)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def open(self, proposal: str) -> None:
        self.click(f"#list button[data-id='{proposal}']")
        self.wait(f"location.hash === '#{proposal}' && document.querySelector('.tile') !== null")

    def status(self, wanted: str) -> None:
        self.wait(f"document.querySelector('#state')?.textContent === {json.dumps(wanted)}")

    def history(self, count: int) -> list[str]:
        self.wait(f"document.querySelectorAll('#history li').length === {count}")
        return [line.text for line in self.all("#history li")]

    def fits(self) -> None:
        assert self.run("return [document.documentElement.scrollWidth, innerWidth]")[0] <= self.run("return innerWidth")
        wide = self.run(
            "return [...document.querySelectorAll('#detail, #side, #top, #body, .card, header, dialog[open]')]"
            ".filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.id || each.className)"
        )
        assert wide == []

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
