"""Files of others in the page: what they are, that they are unaltered, and that the page serves them as they are."""

import hashlib
import json
import urllib.request
from pathlib import Path

VENDOR = Path(__file__).parents[2] / "static" / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text())


def listed() -> dict[str, str]:
    """Every file of every package with its hash."""
    return {name: sha256 for package in MANIFEST["packages"] for name, sha256 in package["files"].items()}


def test_every_file_is_listed_and_unaltered():
    there = {str(path.relative_to(VENDOR)): path for path in VENDOR.rglob("*") if path.is_file()}
    assert there.pop("manifest.json")
    assert set(there) == set(listed())
    for name, path in there.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed()[name], name


def test_every_package_says_what_it_is_and_under_which_licence():
    for package in MANIFEST["packages"]:
        assert package["integrity"].startswith("sha512-") and package["version"] in package["source"], package
        licence = (VENDOR / package["licence_file"]).read_text()
        assert package["licence_file"] in package["files"] and package["licence"] == "MIT", package
        assert "Permission is hereby granted, free of charge" in licence and "Copyright" in licence


def test_the_page_serves_them_as_they_are(demo):
    for name, sha256 in listed().items():
        with urllib.request.urlopen(f"{demo.url}/vendor/{name}", timeout=30) as answer:
            assert hashlib.sha256(answer.read()).hexdigest() == sha256, name


def test_the_chart_library_is_fetched_only_for_a_chart(open_page, demo):
    page = open_page(demo.url)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{demo.url}/?view=jobs")
    page.locator(".job-rows-foot").get_by_text("No jobs yet").wait_for()
    page.goto(f"{demo.url}/?view=data")
    page.locator(".data-table").wait_for()
    assert not [url for url in asked if "uPlot.esm" in url]
