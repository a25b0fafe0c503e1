"""A store in a bucket: what several machines write is one pool, and what kills one of them costs no more than is said.

Machines are mirrors in folders of their own; the bucket is a real server of the S3 protocol on loopback.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from object_server import METHODS, serving
from pyarrow import fs
from test_experiment import InProcess, experiment, tables
from test_store import append, as_pooled, draw, pooled, write

from scaling_exp import experiment as recipe
from scaling_exp.experiment import run
from scaling_exp.plan import plan
from scaling_exp.report import redraw
from scaling_exp.store import RunFolder, Store, StoreError, lease, mirror, uri_of
from scaling_exp.store.elsewhere import HERE
from scaling_exp.store.files import Unreachable


@pytest.fixture(scope="module")
def server():
    with serving() as served:
        yield served


@pytest.fixture
def on(tmp_path, monkeypatch):
    """`on("a")`: from now on this process is on machine "a"."""

    def machine(name):
        monkeypatch.setenv(mirror.SPOOL, str(tmp_path / name))

    return machine


@pytest.fixture
def bucket(server, on, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    on("a")
    server.refuse()
    return server.new_bucket()


@pytest.fixture
def url(bucket):
    return f"s3://{bucket}/some/runs"


@pytest.fixture
def short_leases(monkeypatch):
    monkeypatch.setattr(mirror, "BEAT_SECONDS", 1.0)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 1.0)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(mirror, "LEASE_SECONDS", 3.0)


def keys(store):
    parts = sorted(store.root.glob("*/draws/*.parquet"))
    return [key for part in parts for key in pq.read_table(part)["key"].to_pylist()]


def test_draws_of_one_machine_are_in_the_pool_of_every_other_and_fetched_once(server, url, on):
    draws = [draw(at) for at in range(20)]
    write(Store.at(url), "first", draws)
    on("b")
    store = Store.at(url)
    assert pooled(store) == {}
    store.take()
    assert pooled(store) == as_pooled(draws)
    server.forget()
    store.take()
    assert server.asked == {"LIST": 2}
    assert not list(store.root.glob("*/draws/*.journal"))


def test_a_part_is_put_with_one_request(server, url):
    store = Store.at(url)
    write(store, "one", [draw(0)])
    with store.run("one").journal(frozenset()) as journal:
        append(journal, [draw(1)])
        server.forget()
    assert server.asked == {"LIST": 1, "PUT": 1}


@pytest.mark.parametrize("num_bytes", [0, 10, 25_000_000])
def test_files_of_any_size_come_back_as_they_were(server, bucket, url, tmp_path, num_bytes):
    objects = Store.at(url).elsewhere.objects
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(num_bytes))
    objects.put(source, "a file")
    assert server.names(bucket) == [f"{bucket}/some/runs/a file"]
    objects.fetch("a file", objects.listing()["a file"], target)
    assert target.read_bytes() == source.read_bytes()


def test_draws_are_sent_while_a_run_draws(server, bucket, url, on):
    store = Store.at(url)
    store = replace(store, elsewhere=replace(store.elsewhere, seal_seconds=0.05))
    with store.run("one").journal(frozenset()) as journal:
        for batch in range(2):
            append(journal, [draw(batch)])
            wait_until(lambda wanted=batch + 1: len(server.names(bucket, "parquet")) == wanted)
        time.sleep(0.2)
        assert len(server.names(bucket, "parquet")) == 2, "nothing is sealed when nothing is drawn"
    on("b")
    other = Store.at(url)
    other.take()
    assert pooled(other) == as_pooled([draw(0), draw(1)])


def wait_until(holds, seconds=60):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_many_writers_on_several_machines_neither_lose_nor_double_a_draw(url, on):
    """Four machines with two writers each; half of what a writer draws another one draws as well."""
    stores = []
    for machine in "abcd":
        on(machine)
        stores.append(Store.at(url))

    def draw_some(writer):
        store = stores[writer % 4]
        with store.run(f"run-{writer}").journal(frozenset()) as journal:
            journal.seal_bytes = 6000
            for first in range(40 * writer, 40 * writer + 80, 8):
                append(journal, [draw(at) for at in range(first, first + 8)])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(draw_some, range(8)))
    everything = as_pooled([draw(at) for at in range(40 * 9)])
    for store in stores:
        store.recover()
        assert pooled(store) == everything
    # Those who seal at the very same moment may both keep a draw: readers count it once.
    assert len(set(keys(stores[0]))) == len(everything)
    numbers = {store.pool(draw(0).fingerprint).index().num_draws for store in stores}
    assert numbers == {len(everything)}


def test_what_another_machine_sealed_meanwhile_is_kept_once(url, on):
    here = Store.at(url)
    with here.run("here").journal(here.parts()) as journal:
        append(journal, [draw(at) for at in range(10)])
        on("b")
        write(Store.at(url), "there", [draw(at) for at in range(5, 15)])
    assert sorted(keys(here)) == sorted(draw(at).key for at in range(15))


# A writer that says how many draws it has been promised, until it is killed; it seals and sends now and then.
WRITER = """
import sys
from dataclasses import replace
from test_store import append, draw
from scaling_exp.store import Store
store = Store.at(sys.argv[1])
store = replace(store, elsewhere=replace(store.elsewhere, seal_seconds=0.1))
with store.run("run").journal(frozenset()) as journal:
    for batch in range(100_000):
        append(journal, [draw(7 * batch + i) for i in range(7)])
        print(journal.num_draws, flush=True)
"""


@pytest.fixture
def start():
    """Starts a script in a process that is killed when the test is over."""
    started = []

    def begin(script, url):
        process = subprocess.Popen(
            [sys.executable, "-c", script, url],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("num_sealed", [0, 2])
def test_a_killed_driver_loses_nothing_on_its_machine_and_elsewhere_what_was_not_sealed(
    server, bucket, url, on, start, num_sealed
):
    writer = start(WRITER, url)
    assert writer.stdout is not None
    promised = [int(writer.stdout.readline())]
    reading = threading.Thread(target=lambda: promised.extend(map(int, writer.stdout)))
    reading.start()
    wait_until(lambda: len(server.names(bucket, "parquet")) >= num_sealed)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    reading.join()

    here = Store.at(url)
    on("b")
    there = Store.at(url)
    there.recover()
    known_there = pooled(there)
    assert len(known_there) <= promised[-1] + 7
    here.recover()
    assert promised[-1] <= len(pooled(here)) <= promised[-1] + 7
    assert pooled(here) == as_pooled(draw(at) for at in range(len(pooled(here))))
    assert len(keys(here)) == len(set(keys(here)))
    there.recover()
    assert known_there.items() <= pooled(there).items()
    assert pooled(there) == pooled(here)
    assert not list(here.root.glob("*/draws/*.journal"))


# A run that is killed while it draws: a request takes a while, and draws are sent now and then.
RUN = """
import sys, time
from dataclasses import replace
from test_experiment import experiment, respond
from scaling_exp.experiment import run
from scaling_exp.store import mirror
mirror_of = mirror.Mirror.of
mirror.Mirror.of = lambda url: replace(mirror_of(url), seal_seconds=0.2)
def slowly(prefix, seed):
    time.sleep(0.06)
    return respond(prefix, seed)
run(experiment(sys.argv[1], num_samples=40, engine_respond=slowly), "command")
"""


@pytest.mark.usefixtures("quick_report", "short_leases")
def test_a_run_whose_driver_was_killed_goes_on_elsewhere_with_what_it_had_sent(
    server, bucket, url, on, start, tmp_path
):
    driver = start(RUN, url)
    wait_until(lambda: len(server.names(bucket, "parquet")) >= 2)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    on("b")
    made = experiment(url, num_samples=40)
    made.pool_store.take()
    num_sent = len(keys(made.pool_store))
    assert 0 < num_sent < 2 * 6 * 41
    run(made, "command")
    drawn = sum(made.folder.read_table("engines")["num_draws"].to_pylist())
    assert drawn == 2 * 6 * 41 - num_sent
    local = experiment(tmp_path / "local", num_samples=40)
    run(local, "command")
    assert all(table.equals(tables(local)[name]) for name, table in tables(made).items())
    on("a")  # what it had not sent was drawn again, and adds nothing
    there = Store.at(url)
    there.recover()
    assert len(set(keys(there))) == 2 * 6 * 41


def test_an_interrupted_driver_leaves_nothing_behind_and_another_goes_on_at_once(
    server, bucket, url, on, start
):
    driver = start(RUN, url)
    wait_until(lambda: server.names(bucket, "parquet"))
    driver.send_signal(signal.SIGINT)
    driver.communicate()
    assert not list(Store.at(url).root.glob("*/draws/*.journal"))
    on("b")
    (folder,) = Store.at(url).runs()
    assert json.loads(folder.read_text("state.json") or "{}")["phase"] == "interrupted"
    assert not folder.is_locked


@pytest.mark.parametrize("dies", ["before it is sent", "after it is sent"])
def test_a_part_that_is_sealed_when_the_driver_dies_is_sent_once(
    server, bucket, url, monkeypatch, dies
):
    """What is left behind is a part and its journal."""
    store = Store.at(url)
    monkeypatch.setattr("scaling_exp.store.journal.settle", lambda *_: None)
    with store.run("one").journal(frozenset()) as journal:
        append(journal, [draw(1)])
    assert list(store.root.glob("*/draws/*.journal"))
    (part,) = store.parts()
    if dies == "after it is sent":
        store.elsewhere.send_part(part)
    assert store.recover() == 1
    assert store.recover() == 0
    assert len(server.names(bucket, "parquet")) == 1
    assert pooled(store) == as_pooled([draw(1)])


def test_an_outage_costs_a_warning_and_what_was_drawn_meanwhile_is_sent_when_it_is_over(
    server, bucket, url
):
    store = Store.at(url)
    journal = store.run("one").journal(frozenset())
    told = pytest.warns(UserWarning, match="draws are kept here until they can be sent")
    with told, journal:
        server.refuse("PUT")
        append(journal, [draw(1)])
        journal._seal_what_there_is()
        wait_until(lambda: journal._refusal)
        server.refuse()
        append(journal, [draw(2)])
    assert len(server.names(bucket, "parquet")) == 2


def test_what_cannot_be_sent_in_the_end_is_told_and_sent_by_the_next_run(server, bucket, url):
    store = Store.at(url)
    server.refuse(*METHODS)
    with (
        pytest.warns(UserWarning, match="draws are kept here"),
        pytest.raises(Unreachable, match=r"refused .* is sent when the same command runs here"),
    ):
        write(store, "one", [draw(1)])
    assert pooled(store) == as_pooled([draw(1)])
    server.refuse()
    assert store.recover() == 1
    assert len(server.names(bucket, "parquet")) == 1


def test_parts_that_were_deleted_in_the_bucket_leave_the_pool_and_are_set_aside(
    server, bucket, url
):
    store = Store.at(url)
    write(store, "one", [draw(1)])
    (name,) = server.names(bucket, "parquet")
    server.filesystem().delete_file(name)
    with pytest.warns(UserWarning, match="is gone; what it held is in"):
        store.recover()
    assert pooled(store) == {}
    assert len(list(store.root.glob("*/draws/*.gone"))) == 1


def test_a_torn_copy_of_a_part_is_fetched_again(url):
    store = Store.at(url)
    write(store, "one", [draw(at) for at in range(50)])
    (part,) = store.parts()
    part.write_bytes(part.read_bytes()[:-20])
    store.recover()
    assert len(pooled(store)) == 50


@pytest.mark.usefixtures("short_leases")
def test_one_machine_at_a_time_works_on_a_run(url, on):
    def folder(machine):
        on(machine)
        return Store.at(url).run("one")

    first, second = folder("a"), folder("b")
    with first.locked():
        assert second.is_locked
        assert Store.at(url).drawing() == ["one"]
        with (
            pytest.raises(StoreError, match=r"some/runs/one is being written by another machine"),
            second.locked(),
        ):
            pass
        with folder("b").elsewhere.held(second.path.parent / "other"):
            pass
    assert not first.is_locked
    started = time.monotonic()
    with second.locked():
        assert time.monotonic() - started < 1, "a lease that was given back is none"


def test_what_is_made_of_a_run_that_is_at_work_elsewhere_is_not_sent(server, bucket, url, on):
    """It would replace newer files by older ones."""
    working = Store.at(url).run("one")
    with working.locked():
        on("b")
        reading = RunFolder.at(f"{url}/one")
        with pytest.raises(StoreError, match=r"is being worked on; .* alone"), reading.sending():
            reading.write_json("verdict", {})
    assert not server.names(bucket, "verdict")


@pytest.mark.usefixtures("short_leases")
def test_what_a_killed_driver_said_last_is_kept_on_its_machine(url, on):
    """The log is longer here than there when the same command runs again."""
    folder = Store.at(url).run("one")
    with folder.locked():
        folder.append_line("log.jsonl", "first")
    time.sleep(1.1)  # listings tell ages by the second
    folder.append_line("log.jsonl", "killed before it was sent")
    with folder.locked():
        folder.append_line("log.jsonl", "again")
    on("b")
    told = RunFolder.at(f"{url}/one").read_text("log.jsonl")
    assert told == "first\nkilled before it was sent\nagain\n"


@pytest.mark.usefixtures("short_leases")
def test_the_lease_of_a_machine_that_died_runs_out(url):
    store = Store.at(url)
    lease.Lease(store.elsewhere.objects, "one", "dead").renew()
    started = time.monotonic()
    with store.run("one").locked():
        assert 1 < time.monotonic() - started < 8


@pytest.mark.usefixtures("short_leases")
def test_files_of_a_run_are_the_same_on_every_machine_that_worked_on_it(server, bucket, url, on):
    first = Store.at(url).run("one")
    with first.locked():
        first.write_json("manifest", {"by": "a"})
        (first.path / "figures").mkdir()
        (first.path / "figures" / "one.png").write_text("png")
        wait_until(lambda: server.names(bucket, "manifest.json"))
        assert not server.names(bucket, "one.png"), "only what it says of itself is sent at once"
    assert server.names(bucket, "one.png")
    on("b")
    second = RunFolder.at(f"{url}/one")
    assert second.read_manifest() == {"by": "a"}
    time.sleep(1.1)  # listings tell ages by the second
    with second.locked():
        second.write_json("manifest", {"by": "machine b"})
    on("a")
    server.forget()
    assert RunFolder.at(f"{url}/one").read_manifest() == {"by": "machine b"}
    assert server.asked["GET"] == 1, "what has not changed is not fetched again"
    time.sleep(2)  # what is younger may still change within the second that a listing tells
    RunFolder.at(f"{url}/one")
    server.forget()
    with first.sending():
        pass
    assert not server.asked["PUT"], "nor is it sent again"


@pytest.fixture
def quick_report(monkeypatch):
    monkeypatch.setattr(
        recipe, "redraw", lambda folder, *_, **__: (None, folder.path / "report.html")
    )


@pytest.mark.usefixtures("quick_report")
def test_a_run_in_a_bucket_ends_with_the_numbers_of_one_in_a_folder_and_goes_on_anywhere(
    server, bucket, url, on, tmp_path
):
    """The first half on one machine, the second on another; then the tables of both are those of a local run."""
    run(experiment(url, num_samples=4), "command")
    on("b")
    more = experiment(url, num_samples=8)
    assert f"{2 * 6 * 4:,}" in plan(more).splitlines()[-2]
    run(more, "command")
    local = experiment(tmp_path / "local", num_samples=8)
    run(local, "command")
    assert all(table.equals(tables(local)[name]) for name, table in tables(more).items())
    assert len(keys(more.pool_store)) == len(set(keys(more.pool_store))) == 2 * 6 * (1 + 8)
    for name in ("manifest.json", "samples.parquet", "traces.parquet", "grades.parquet"):
        assert server.names(bucket, f"{more.run_id}/{name}")
    on("c")
    again = experiment(url, num_samples=8, cluster=InProcess())
    server.forget()
    run(again, "command")
    assert again.cluster.num_started == 0
    assert server.asked["PUT"] < 12
    assert server.asked["LIST"] < 12


def test_a_report_is_drawn_from_the_bucket_without_any_draw(url, on, monkeypatch):
    monkeypatch.setattr("scaling_exp.report.write_figures", lambda *_: None)
    made = experiment(url)
    run(made, "command")
    on("laptop")
    folder = RunFolder.at(f"{url}/{made.run_id}")
    assert not (folder.path / "draws").exists()
    with folder.sending():
        redraw(folder)
    assert made.folder.read_manifest()["run_id"] == made.run_id
    on("c")
    assert (RunFolder.at(f"{url}/{made.run_id}").path / "report.html").is_file()


def test_what_a_tracker_is_told_of_the_pool_is_where_it_really_is(url, tmp_path):
    store = Store.at(url)
    write(store, "one", [draw(1)])
    (part,) = store.parts()
    assert uri_of(part, store.root) == f"{url}/one/draws/{part.name}"
    assert uri_of(tmp_path / "x", tmp_path) == (tmp_path / "x").as_uri()


@pytest.mark.usefixtures("quick_report")
def test_no_credential_reaches_a_file(url, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    run(experiment(url), "command")
    everything = [file for file in (tmp_path / "a").rglob("*") if file.is_file()]
    assert everything
    assert not [file for file in everything if b"hush-hush" in file.read_bytes()]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("az://bucket/runs", "none of a folder, file://FOLDER, s3://BUCKET/PREFIX"),
        ("s3:///runs", "names no bucket"),
        ("s3://key:hush@bucket/runs", "credentials in its URL.*AWS_ACCESS_KEY_ID"),
        ("s3://bucket/runs?secret_key=hush", "secret_key=, which is none of"),
        ("gs://someone@bucket/runs", "credentials in its URL.*GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_a_url_that_cannot_be_is_told_in_one_line(where, told):
    with pytest.raises(StoreError, match=told) as raised:
        Store.at(where)
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_bucket_a_refusal_and_a_dead_server_are_told_in_one_line(
    server, url, monkeypatch
):
    with pytest.raises(StoreError, match="there is no bucket 'nowhere'; make it, or correct"):
        Store.at("s3://nowhere/runs").recover()
    server.refuse(*METHODS)
    with pytest.raises(StoreError, match=r"the bucket refused .*AWS_ACCESS_KEY_ID"):
        Store.at(url).recover()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        Store.at(url).recover()


def test_a_server_can_be_named_in_the_url(server, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = server.endpoint.removeprefix("http://")
    store = Store.at(f"s3://{bucket}/runs?endpoint_override={host}&scheme=http")
    write(store, "one", [draw(1)])
    assert server.names(bucket, "parquet")
    assert RunFolder.at(f"s3://{bucket}/runs/one?endpoint_override={host}&scheme=http").path == (
        store.root / "one"
    )


@pytest.fixture
def google(on, monkeypatch):
    """URL of a store on a server of Google Cloud Storage's protocol, where there is one to start."""
    program = shutil.which("fake-gcs-server")
    if program is None:
        pytest.skip("gs:// is tried where fake-gcs-server is on PATH")
    on("a")
    port = free_port()
    arguments = ("-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port))
    with subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL) as running:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        wait_until(lambda: accepts(port))
        storage = fs.GcsFileSystem(
            anonymous=True, scheme="http", endpoint_override=f"127.0.0.1:{port}", project_id="p"
        )
        storage.create_dir("bucket")
        yield "gs://bucket/some/runs"
        running.terminate()


def free_port():
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def accepts(port):
    with socket.socket() as opened:
        return opened.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.usefixtures("quick_report", "short_leases")
def test_a_run_goes_on_from_another_machine_on_google_cloud_storage(google, on, tmp_path):
    run(experiment(google, num_samples=4), "command")
    on("b")
    more = experiment(google, num_samples=8)
    lease.Lease(more.pool_store.elsewhere.objects, more.run_id, "dead").renew()
    run(more, "command")
    local = experiment(tmp_path / "local", num_samples=8)
    run(local, "command")
    assert all(table.equals(tables(local)[name]) for name, table in tables(more).items())
    assert len(keys(more.pool_store)) == len(set(keys(more.pool_store))) == 2 * 6 * (1 + 8)
    on("c")
    assert RunFolder.at(f"{google}/{more.run_id}").read_manifest()["run_id"] == more.run_id
    assert Store.at(google).drawing() == []
    with pytest.raises(StoreError, match="there is no bucket 'nowhere'"):
        Store.at("gs://nowhere/runs").recover()


def test_a_file_url_is_the_folder(tmp_path):
    assert Store.at(f"file://{tmp_path}/some%20runs") == Store(tmp_path / "some runs")
    assert Store.at("runs").elsewhere is HERE


@pytest.mark.slow
def test_the_command_line_runs_and_reports_in_a_bucket(
    server, bucket, url, two_smallest, command_line, tmp_path
):
    """Ray, vLLM and a driver that is killed; the report is drawn elsewhere, and status told."""
    arguments = (
        "+experiment=quickstart",
        f"ladder.path={two_smallest}",
        f"store={url}",
        "task.num_problems=20",
        "analysis.num_bootstrap=100",
        "tracking=disabled",
    )
    here, laptop = ({**server.environment, mirror.SPOOL: str(tmp_path / name)} for name in "xy")
    done = command_line("run", *arguments, timeout=300, environment=here)
    assert done.returncode == 0, done.stderr
    assert f"{url}/quickstart-" in done.stdout
    (samples,) = server.names(bucket, "samples.parquet")
    run_url = f"s3://{samples.removesuffix('/samples.parquet')}"
    told = command_line("report", run_url, environment=laptop)
    assert told.returncode == 0, told.stderr
    assert (
        json.loads(server.filesystem().open_input_stream(f"{run_url[5:]}/verdict.json").read())[
            "sentences"
        ][0]
        in told.stdout
    )
    assert not list((tmp_path / "y").glob("*/*/draws"))
    told = command_line("status", url, environment=laptop)
    assert "finished" in told.stdout, told.stdout + told.stderr
