"""Jobs and data sets in the page, on real training: uploading, the generated form, curves and log as they come, taking
up again, and loading what was trained with a role."""

import json
import re
import urllib.error
from pathlib import Path

import pytest
from playwright.sync_api import expect

from server import Server

DEMO = Path(__file__).parents[2] / "demo" / "data"
KINDS = ("pipeline", "sft", "preference", "contrast", "sample", "select", "evaluate")
PHONE = {"viewport": {"width": 390, "height": 844}}
# A job trains beside a browser, on a machine that may be busy.
LONG = 120_000


def problems(count: int) -> list[dict]:
    return [json.loads(line) for line in (DEMO / "problems.jsonl").read_text().splitlines()[:count]]


def trajectories(count: int) -> list[dict]:
    return [{"prompt": row["question"] + "\n", "response": row["answer"]} for row in problems(count)]


def pairs(count: int) -> list[dict]:
    """The right solution against one whose last number is off by one."""
    made = []
    for row in problems(count):
        steps, answer = row["answer"].rsplit("#### ", 1)
        wrong = f"{steps}#### {int(answer) + 1}"
        made.append({"prompt": row["question"] + "\n", "chosen": row["answer"], "rejected": wrong})
    return made


def lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def shop():
    """A demo server of this module's own: jobs, roles and data sets are not for other tests to see."""
    with Server(model=None) as running:
        for name, rows in (("pairs", pairs(48)), ("solutions", trajectories(48)), ("few-problems", problems(4))):
            running.call("PUT", f"/v1/datasets/{name}", lines(rows), "application/x-ndjson")
        yield running


@pytest.fixture(scope="module")
def trained(shop):
    """A preference job that is over: 12 steps."""
    job = submit(shop, "preference", "short", dataset="pairs", loss="dpo", max_steps=12, logging_steps=1)
    return finished(shop, job)


@pytest.fixture
def endless(shop):
    """A job that runs until it is cancelled."""
    job = submit(shop, "preference", "endless", dataset="pairs", loss="dpo", num_train_epochs=100_000, logging_steps=1)
    yield job
    try:
        shop.call("POST", f"/v1/jobs/{job}/cancel", {})
    except urllib.error.HTTPError:
        pass
    finished(shop, job)


def submit(server, kind: str, name: str, **config) -> str:
    return server.call("POST", "/v1/jobs", {"kind": kind, "name": name, "config": config})["id"]


def finished(server, job: str) -> dict:
    """The job's record once it is over; its stream ends then."""
    server.call("GET", f"/v1/jobs/{job}/events")
    return server.call("GET", f"/v1/jobs/{job}")


def open_job(open_page, server, job: str, **options):
    page = open_page(f"{server.url}/?view=jobs&job={job}", **options)
    expect(page.locator("#job-state")).to_be_visible()
    return page


def open_form(open_page, server, kind: str, dataset: str = "", **options):
    page = open_page(f"{server.url}/?view=jobs&job=new&kind={kind}&dataset={dataset}", **options)
    expect(page.locator("#job-dataset")).to_be_visible()
    return page


def wide(page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def test_a_file_is_uploaded_and_trained_on(open_page, shop, tmp_path):
    file = tmp_path / "my pairs.jsonl"
    file.write_bytes(lines(pairs(16)))
    page = open_page(f"{shop.url}/?view=data")
    page.locator("#dataset-file").set_input_files(file)
    expect(page.get_by_label("Store it as")).to_have_value("my-pairs")
    page.get_by_role("button", name="Upload").click()
    row = page.locator(".data-table tr[data-name='my-pairs']")
    expect(row).to_contain_text("preferences")
    expect(row.locator("td.num").first).to_have_text("16")
    expect(page.locator(".upload")).to_have_count(0)
    row.get_by_role("link", name="Train on this").click()
    expect(page.locator("#job-kind")).to_have_value("preference")
    expect(page.locator("#job-dataset")).to_have_value("my-pairs")


def test_a_wrong_line_is_named_and_the_file_stays_until_it_is_right(open_page, shop, tmp_path):
    file = tmp_path / "broken.jsonl"
    file.write_bytes(lines(pairs(3)) + b'{"prompt": "p", "chosen": "a", "rejected": "a"}\n')
    page = open_page(f"{shop.url}/?view=data", allow=("422",))
    page.locator("#dataset-file").set_input_files(file)
    page.get_by_label("Store it as").fill("mended")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator(".upload").get_by_role("alert")).to_contain_text(re.compile(r"^line 4: .*Nothing was stored"))
    expect(page.get_by_label("Store it as")).to_have_value("mended")
    expect(page.locator(".data-table tr[data-name='mended']")).to_have_count(0)


def test_a_dropped_file_replaces_a_data_set_only_when_told_to(open_page, shop):
    shop.call("PUT", "/v1/datasets/twice", lines(pairs(2)), "application/x-ndjson")
    page = open_page(f"{shop.url}/?view=data")
    expect(page.locator(".data-table tr[data-name='twice']")).to_be_visible()
    dropped = page.evaluate_handle(
        """(text) => { const all = new DataTransfer(); all.items.add(new File([text], 'twice.jsonl')); return all; }""",
        lines(pairs(5)).decode(),
    )
    page.dispatch_event(".data-drop", "drop", {"dataTransfer": dropped})
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert shop.call("GET", "/v1/datasets/twice")["rows"] == 2
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("dialog").get_by_role("button", name="Replace").click()
    expect(page.locator(".data-table tr[data-name='twice'] td.num").first).to_have_text("5")
    page.get_by_role("button", name="Delete twice").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".data-table tr[data-name='twice']")).to_have_count(0)


def test_pairs_are_shown_side_by_side_with_what_differs_marked(open_page, shop):
    page = open_page(f"{shop.url}/?view=data&dataset=pairs")
    expect(page.locator(".data-row")).to_have_count(20)
    first = page.locator(".data-row").first
    row = pairs(1)[0]
    answer = row["chosen"].rsplit(" ", 1)[1]
    expect(first.locator(".chosen mark")).to_have_text(answer)
    expect(first.locator(".rejected mark")).to_have_text(row["rejected"].rsplit(" ", 1)[1])
    expect(first.locator(".chosen .row-shared")).to_have_text(row["chosen"].removesuffix(answer))
    page.get_by_role("button", name="More rows").click()
    expect(page.locator(".data-row")).to_have_count(40)
    page.goto(f"{shop.url}/?view=data&dataset=few-problems")
    expect(page.locator(".data-row")).to_have_count(4)
    expect(page.locator(".data-row").first).to_contain_text(problems(1)[0]["question"])
    page.goto(f"{shop.url}/?view=data&dataset=solutions")
    expect(page.locator(".data-row").first).to_contain_text(trajectories(1)[0]["response"])


def test_an_older_server_s_data_sets_are_seen_without_rows(open_page, shop):
    page = open_page(shop.url, allow=("404",))
    error = {"message": "no such route", "type": "not_found_error", "param": None, "code": "no_such_route"}
    page.route("**/v1/datasets/*/rows*", lambda route: route.fulfill(status=404, json={"error": error}))
    page.goto(f"{shop.url}/?view=data&dataset=pairs")
    expect(page.locator(".data-foot")).to_contain_text("too old to show rows")
    expect(page.get_by_role("link", name="Train on this: preference")).to_be_visible()
    page.goto(f"{shop.url}/?view=data&dataset=nowhere")
    expect(page.get_by_role("alert")).to_contain_text("There is no such data set")


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_has_every_property_of_the_schema(open_page, shop, kind):
    schemas = shop.call("GET", "/openapi.json")["components"]["schemas"]

    def leaves(schema: dict, path: str) -> list[str]:
        found = []
        for name, inner in schema["properties"].items():
            if "properties" in inner and "artifact" not in inner["properties"]:
                found += leaves(inner, f"{path}{name}.")
                if "null" in inner["type"]:
                    found.append(f"{path}{name}")
            else:
                found.append(path + name)
        return found

    page = open_form(open_page, shop, kind)
    fields = page.locator("#job-form [data-path]").evaluate_all("all => all.map((field) => field.dataset.path)")
    assert sorted(fields) == sorted(leaves(schemas[f"{kind.capitalize()}JobConfig"], ""))
    # As published is as empty: nothing is sent but the data set.
    assert not page.locator("#job-form .setting.changed").count()


def test_a_dry_run_says_what_would_be_used_and_which_rows_are_dropped(open_page, shop):
    page = open_form(open_page, shop, "sft", "solutions")
    page.get_by_text("More settings").click()
    page.locator("#job-max_length").fill("60")
    page.get_by_label("Name").fill("it's a try")
    page.get_by_role("button", name="Dry run").click()
    plan = page.locator("#job-plan")
    expect(plan).to_contain_text("nothing has been started")
    request = {"kind": "sft", "config": {"dataset": "solutions", "max_length": 60}, "dry_run": True}
    told = shop.call("POST", "/v1/jobs", request)
    assert 0 < len(told["dropped"]) < 48
    expect(plan.locator(".plan-rows tbody tr")).to_have_count(len(told["dropped"]))
    expect(plan.locator(".plan-rows tbody tr").first).to_contain_text(told["dropped"][0]["detail"])
    expect(plan.locator("[aria-label='What would be used'] tbody")).to_contain_text(str(told["stages"][0]["rows"]))
    plan.get_by_text("Complete settings").click()
    assert json.loads(plan.locator("pre").inner_text()) == told["config"]
    command = page.locator("#job-command").inner_text()
    assert json.loads(command.split("--json '")[1][:-1].replace("'\\''", "'")) == {
        "kind": "sft",
        "name": "it's a try",
        "config": {"dataset": "solutions", "max_length": 60},
    }
    assert all(job["name"] != "it's a try" for job in shop.call("GET", "/v1/jobs")["data"])


def test_another_kind_is_looked_at_and_what_was_set_is_still_there(open_page, shop):
    page = open_form(open_page, shop, "sft", "solutions")
    page.get_by_text("More settings").click()
    page.locator("#job-max_length").fill("60")
    page.locator("#job-kind").select_option("evaluate")
    expect(page.locator("#job-max_length")).to_have_count(0)
    page.locator("#job-kind").select_option("sft")
    expect(page.locator("#job-max_length")).to_have_value("60")
    expect(page.locator("#job-dataset")).to_have_value("solutions")
    # A form that is opened anew is as published.
    page.goto(f"{shop.url}/?view=jobs&job=new&kind=sft&dataset=solutions")
    expect(page.locator("#job-dataset")).to_have_value("solutions")
    expect(page.locator("#job-max_length")).to_have_value("")


def test_what_is_wrong_stands_at_its_field(open_page, shop):
    page = open_form(open_page, shop, "pipeline", "few-problems", allow=("422",))
    page.locator("summary", has_text="Training sets from").click()
    page.locator("#job-select-coverage").fill("1.5")
    page.get_by_role("button", name="Start").click()
    wrong = page.locator(".setting", has=page.locator("#job-select-coverage")).get_by_role("alert")
    expect(wrong).to_have_text("This must be above 0, at most 1.")
    expect(page.locator("#job-select-coverage")).to_be_focused()
    page.locator("#job-select-coverage").fill("")
    # What only the server knows comes back to the field too, though it is folded away.
    page.evaluate("document.querySelector('#job-preference-loss').value = 'tdpo'")
    page.evaluate("document.querySelector('#job-preference-reduction').value = 'position'")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("[aria-invalid=true]")).to_be_focused()
    expect(page.locator("[aria-invalid=true]")).to_have_attribute("data-path", re.compile(r"^preference\."))
    page.goto(f"{shop.url}/?view=jobs&job=new&kind=sample")
    page.locator("#job-dataset").select_option("")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#job-problem")).to_contain_text("dataset")
    expect(page.locator("#job-dataset")).to_be_focused()
    page.locator("#job-dataset").select_option("few-problems")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#job-plan")).to_contain_text("nothing has been started")
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def test_a_job_is_started_and_its_curves_and_log_come_by_themselves(open_page, shop):
    page = open_form(open_page, shop, "preference", "pairs")
    page.get_by_label("Name").fill("from the form")
    page.locator("#job-loss").select_option("dpo")
    page.locator("#job-max_steps").fill("10")
    page.locator("#job-learning_rate").fill("1e-3")
    page.locator(".settings-more > summary").click()
    page.locator("#job-logging_steps").fill("1")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    expect(page.locator(".job-curve")).to_have_count(7, timeout=LONG)
    expect(page.locator("#job-state")).to_have_text("✓ succeeded", timeout=LONG)
    expect(page.locator("#job-steps")).to_have_text("10 of 10 steps")
    loss = page.locator(".job-curve", has=page.get_by_text("Loss", exact=True))
    expect(loss.locator(".chart-step")).to_have_text("step 10")
    expect(loss.locator("canvas")).to_be_visible()
    expect(loss.get_by_role("img")).to_have_attribute("aria-label", re.compile("Loss over steps.* at step 10"))
    expect(page.locator("#job-log")).to_contain_text("trained for 10 steps")
    expect(page.locator(".settings-changed")).to_contain_text('loss "dpo"')
    config = shop.call("GET", f"/v1/jobs/{re.search('job=(job_[A-Z0-9]+)', page.url)[1]}")["config"]
    assert (config["max_steps"], config["learning_rate"], config["beta"]) == (10, 1e-3, 0.1)


def test_curves_say_their_values_under_the_pointer_and_in_a_table(open_page, shop, trained):
    page = open_job(open_page, shop, trained["id"])
    loss = page.locator(".job-curve").first
    expect(loss.locator(".chart-step")).to_have_text("step 12")
    points = shop.call("GET", f"/v1/jobs/{trained['id']}/metrics")["data"]
    expect(loss.locator(".curve-value")).to_have_text(f"{points[-1]['values']['loss']:.4f}"[:6])
    over = loss.locator(".u-over")
    over.scroll_into_view_if_needed()
    over.hover(position={"x": 2, "y": 40})
    expect(loss.locator(".chart-step")).to_have_text("step 1")
    expect(loss.locator(".curve-value")).to_have_text("0.6931")
    # The pointers of all charts move together.
    expect(page.locator(".chart-step").nth(1)).to_have_text("step 1")
    page.get_by_text("The numbers as a table").click()
    expect(page.locator("#job-numbers tbody tr")).to_have_count(12)
    expect(page.locator("#job-numbers tbody tr").first).to_contain_text("0.6931")
    expect(page.get_by_text("of the last 8")).to_be_visible()


def test_the_theme_redraws_the_curves(open_page, shop, trained):
    page = open_job(open_page, shop, trained["id"], allow=("readback",))
    canvas = page.locator(".job-curve canvas").first
    expect(canvas).to_be_visible()
    ink = """(canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let bright = 0;
      for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 250 && data[i] > 225) bright++;
      return bright;
    }"""
    # No line is that bright on light paper.
    assert canvas.evaluate(ink) == 0
    page.keyboard.press("t")
    page.wait_for_function(f"({ink})(document.querySelector('.job-curve canvas')) > 20")


def test_a_running_job_survives_reloads_and_a_restart_and_is_cancelled_and_resumed(open_page, shop, endless):
    page = open_job(open_page, shop, endless, allow=("ERR_", "503", "Failed to fetch"))
    expect(page.locator("#job-state")).to_have_text("▶ running", timeout=LONG)
    expect(page.locator(".job-curve").first).to_be_visible(timeout=LONG)
    step = page.locator(".chart-step").first

    def goes_on(beyond: int) -> int:
        """Waits for a later step and gives it."""
        page.wait_for_function(
            "(known) => Number(document.querySelector('.chart-step')?.textContent.replace(/[^0-9]/g, '')) > known",
            arg=beyond,
            timeout=LONG,
        )
        return int(re.sub("[^0-9]", "", step.inner_text()))

    seen = goes_on(2)
    page.reload()
    seen = goes_on(seen)
    expect(page.locator("#job-connection")).to_have_text("● live")
    shop.restart()
    seen = goes_on(seen)
    expect(page.locator("#job-connection")).to_have_text("● live")
    # Events that are told again are no new lines: the job was entered once before the restart and once after it.
    expect(page.locator("#job-log li", has_text="stage 1 of 1")).to_have_count(2)

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#job-state")).to_have_text("■ cancelled", timeout=LONG)
    expect(page.locator("#job-log")).to_contain_text("■ cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#job-state")).to_have_text("▶ running", timeout=LONG)
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


LONG_LOG = """async () => {
  const { JobLog } = await import('/js/job-log.js');
  const log = new JobLog();
  document.querySelector('#job-log').closest('section').replaceWith(log.root);
  const line = (seq, message) => log.add({ seq, created: 1, event: 'log', level: 'info', message });
  let last = 0;
  window.tell = (n) => {
    for (let i = 0; i < n; i++) line(++last, `line ${last}`);
    line(1, 'again');
  };
  tell(100);
}"""
AT_END = """() => {
  const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#job-log');
  return scrollHeight - scrollTop - clientHeight < 2;
}"""


def test_the_log_follows_its_end_until_the_reader_scrolls_up(open_page, shop, trained):
    page = open_job(open_page, shop, trained["id"])
    expect(page.locator("#job-log")).to_contain_text("trained for 12 steps")
    # Few lines do not scroll: more of them, as they come, and one again.
    page.evaluate(LONG_LOG)
    page.wait_for_function(AT_END)
    assert "again" not in page.locator("#job-log").inner_text()
    page.locator("#job-log").evaluate("(log) => log.scrollTo(0, 0)")
    expect(page.locator("#log-tail")).to_be_visible()
    page.evaluate("tell(20)")
    expect(page.locator("#job-log li")).to_have_count(120)
    assert page.locator("#job-log").evaluate("(log) => log.scrollTop") == 0
    page.locator("#log-tail").click()
    page.wait_for_function(AT_END)
    expect(page.locator("#log-tail")).to_be_hidden()


def test_an_adapter_is_loaded_with_a_role_in_one_click(open_page, shop, trained):
    page = open_job(open_page, shop, trained["id"])
    card = page.locator(".adapter[data-artifact=adapter]")
    expect(card.get_by_role("textbox")).to_have_value("short")
    card.get_by_role("button", name="Load as negative").click()
    expect(card).to_contain_text("Loaded as short, and negative from now on")
    expect(page.locator("#roles-now .negative")).to_contain_text("short")
    expect(page.locator("#roles-now .positive")).to_contain_text("positive")
    assert shop.call("GET", "/v1/roles") == {"positive": "positive", "negative": "short"}
    card.get_by_role("button", name="Make it positive").click()
    expect(page.locator("#roles-now .positive")).to_contain_text("short")
    card.get_by_role("link", name="Models").click()
    expect(page.locator(".models-table tr[data-id=short]")).to_be_visible()
    # Its name is taken now, and the next suggestion is another.
    page.go_back()
    expect(card.get_by_role("textbox")).to_have_value(re.compile("^short"))
    page.reload()
    expect(card.get_by_role("textbox")).to_have_value("short-2")
    shop.call("PUT", "/v1/roles", {"positive": "positive", "negative": "negative"})


def test_a_refused_name_is_explained_and_can_be_changed(open_page, shop, trained):
    page = open_job(open_page, shop, trained["id"], allow=("409", "422"))
    card = page.locator(".adapter")
    card.get_by_role("textbox").fill("negative")
    card.get_by_role("button", name="Load", exact=True).click()
    expect(card.get_by_role("alert")).to_contain_text("negative")
    card.get_by_role("textbox").fill("another-name")
    card.get_by_role("button", name="Load", exact=True).click()
    expect(card).to_contain_text("Loaded as another-name")


def test_files_are_downloaded_and_stored_as_data_sets(open_page, shop):
    draws = {"dataset": "few-problems", "prompt_format": "plain", "n": 4, "max_tokens": 40}
    job = finished(shop, submit(shop, "sample", "draws", **draws))
    assert job["state"] == "succeeded", job["error"]
    page = open_job(open_page, shop, job["id"])
    with page.expect_download() as waiting:
        page.get_by_role("link", name="↓ samples.jsonl").click()
    assert len(waiting.value.path().read_text().splitlines()) == 16
    assert waiting.value.suggested_filename == "samples.jsonl"
    expect(page.locator(".job-curve", has_text="Right samples so far")).to_contain_text("of 16")
    page.get_by_role("button", name="Store as data set").click()
    page.get_by_role("link", name=re.compile("draws-samples, 16 rows")).click()
    expect(page.locator(".data-row")).to_have_count(16)
    expect(page.locator(".data-row .verdict").first).to_be_visible()


def test_with_a_key_files_come_along_and_the_command_asks_for_it(open_page):
    with Server(model=None, key="open sesame") as server:
        server.call("PUT", "/v1/datasets/solutions", lines(trajectories(6)), "application/x-ndjson")
        job = finished(server, submit(server, "sft", "keyed", dataset="solutions", max_steps=1, logging_steps=1))
        page = open_page(f"{server.url}/?view=jobs&job={job['id']}", allow=("401",))
        page.get_by_role("dialog").get_by_label("Key").fill(server.key)
        page.keyboard.press("Enter")
        page.locator("#job-files summary").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="↓ adapter/adapter_config.json").click()
        assert json.loads(waiting.value.path().read_text())["peft_type"] == "LORA"
        expect(page.locator("#job-log")).to_contain_text("trained for 1 steps")
        page.get_by_role("link", name="Submit again").click()
        expect(page.locator("#job-command")).to_contain_text("Bearer $LINCHPIN_API_KEY")


def test_a_failure_is_explained_with_what_to_do(open_page, shop):
    failed = finished(shop, submit(
        shop, "preference", "too fast", dataset="pairs", loss="dpo", learning_rate=1e30, warmup_ratio=0, max_grad_norm=0
    ))
    assert failed["state"] == "failed"
    page = open_job(open_page, shop, failed["id"])
    expect(page.locator("#job-state")).to_have_text("✗ failed")
    expect(page.get_by_role("alert").filter(has_text="It failed")).to_contain_text("lower learning rate")
    page.get_by_role("link", name="Submit again").click()
    expect(page.locator("#job-learning_rate")).to_have_value("1e+30")
    expect(page.get_by_label("Name")).to_have_value("too fast")
    expect(page.locator("#job-max_grad_norm")).to_have_value("0")
    page.goto(f"{shop.url}/?view=jobs&state=failed")
    expect(page.locator(f".job-row[data-id={failed['id']}]")).to_contain_text("diverged")


def test_the_list_is_filtered_by_the_address_and_keeps_up(open_page, shop, trained, endless):
    page = open_page(f"{shop.url}/?view=jobs")
    row = page.locator(f".job-row[data-id={endless}]")
    expect(row).to_contain_text("▶ running", timeout=LONG)
    expect(row.locator(".job-steps")).to_have_text(re.compile(r"^[1-9]\d* of "), timeout=LONG)
    expect(page.locator(f".job-row[data-id={trained['id']}]")).to_contain_text("12 of 12 steps")
    row.get_by_role("link").focus()
    shop.call("POST", f"/v1/jobs/{endless}/cancel", {})
    expect(row).to_contain_text("■ cancelled")
    expect(row.get_by_role("link")).to_be_focused()
    page.get_by_label("State").select_option("succeeded")
    expect(page).to_have_url(re.compile("state=succeeded"))
    expect(row).to_have_count(0)
    page.get_by_label("Kind").select_option("pipeline")
    expect(page.get_by_text("No job matches")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(row).to_be_visible()
    row.get_by_role("link").press("Enter")
    expect(page).to_have_url(re.compile(f"job={endless}"))


def test_a_pipeline_shows_its_stages_and_accuracies_and_all_of_its_adapters(open_page, shop):
    shop.call("PUT", "/v1/datasets/some-problems", lines(problems(40)), "application/x-ndjson")
    put = {"prompt_format": "plain", "max_tokens": 60}
    fast = {"max_steps": 4, "logging_steps": 1, "warmup_steps": 1, "learning_rate": 1e-3}
    job = submit(
        shop, "pipeline", "all of it", dataset="some-problems", eval_dataset="few-problems",
        sample={**put, "n": 8, "temperature": 1.0}, sft=fast, preference=fast, evaluate=put,
    )
    page = open_job(open_page, shop, job)
    expect(page.locator(".stages .stage")).to_have_count(8)
    expect(page.locator("#job-state")).to_have_text("✓ succeeded", timeout=LONG)
    expect(page.locator(".stage.done")).to_have_count(8)
    expect(page.locator(".accuracy tr")).to_have_count(2)
    expect(page.locator(".accuracy")).to_contain_text(re.compile(r"\d of 4"))
    loss = page.locator(".job-curve").first
    expect(loss.locator(".curve-key")).to_have_count(3)
    expect(loss).to_contain_text("sft-positive")
    names = page.locator(".adapter").evaluate_all("all => all.map((card) => card.dataset.artifact)")
    assert names == ["positive", "negative", "adapter"]
    page.locator(".adapter[data-artifact=positive]").get_by_role("button", name="Load as positive").click()
    expect(page.locator("#roles-now .positive")).to_contain_text("all-of-it-positive")
    shop.call("PUT", "/v1/roles", {"positive": "positive", "negative": "negative"})


@pytest.mark.parametrize(
    "address", ["jobs", "jobs&job={job}", "jobs&job=new&kind=pipeline", "data", "data&dataset=pairs"]
)
def test_nothing_is_wider_than_a_phone(open_page, shop, trained, address):
    page = open_page(f"{shop.url}/?view={address.format(job=trained['id'])}", **PHONE)
    expect(page.locator("#main h1")).to_be_visible()
    expect(page.locator("#main .pulse")).to_have_count(0)
    assert wide(page) <= 0


def test_a_job_that_is_not_there_leads_back(open_page, shop):
    page = open_page(f"{shop.url}/?view=jobs&job=job_01K7P0C0H4T5G9S1M2N3P4Q8ZZ", allow=("404",))
    expect(page.get_by_role("alert")).to_contain_text("There is no such job")
    page.get_by_role("link", name="All jobs").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
