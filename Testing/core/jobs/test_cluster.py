from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.jobs import cluster as module
from flare_core.jobs.cluster import (
    Place,
    Queue,
    connected,
    place_of,
    queue_cluster,
    read_queue,
    safe_python,
)

PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"
GPU_QUEUE = Queue(
    jobs=4,
    cores=8,
    memory="16GB",
    walltime="02:00:00",
    queue="gpu",
    account="me",
    directives=("--gres=gpu:1",),
    prologue=("module load cuda",),
    gpus=1,
)


@pytest.fixture
def everything_there(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: name)


@pytest.mark.usefixtures("everything_there")
def test_addresses():
    assert place_of("local:3") == Place("local", 3)
    assert place_of("tcp://head:8786") == Place("scheduler", address="tcp://head:8786")
    assert place_of("tls://10.0.0.1:8786").address == "tls://10.0.0.1:8786"


@pytest.mark.parametrize(
    "text", ["", "local", "local:0", "local:-1", "local:two", "slurm:", "tcp://head", "http://a:1"]
)
def test_other_texts_are_refused_and_the_legal_ones_told(text):
    with pytest.raises(InputError, match="slurm:FILE"):
        place_of(text)


@pytest.mark.parametrize(
    ("missing", "address"), [("distributed", "tcp://a:1"), ("dask_jobqueue", "slurm:FILE")]
)
def test_a_missing_extra_says_what_to_install(missing, address, monkeypatch, tmp_path):
    file = tmp_path / "queue.json"
    file.write_text('{"jobs": 1, "cores": 2, "memory": "8GB"}')
    monkeypatch.setattr(module, "find_spec", lambda name: name != missing or None)
    with pytest.raises(InputError, match=f"without the package {missing}") as caught:
        place_of(address.replace("FILE", str(file)))
    assert "flareseg[cluster]" in caught.value.parts[3]


@pytest.mark.usefixtures("everything_there")
def test_the_files_of_the_page_are_read():
    blocks = re.findall(r"^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names = set(json.loads(block))
        assert {"jobs", "cores", "memory"} <= names <= set(Queue.__dataclass_fields__)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"jobs": 1, "cores": 2}',
        '{"jobs": 0, "cores": 2, "memory": "8GB"}',
        '{"jobs": 1, "cores": 2, "memory": "much"}',
        '{"jobs": 1, "cores": 2, "memory": "8GB", "gpus": -1}',
        '{"jobs": 1, "cores": 2, "memory": "8GB", "colour": "red"}',
    ],
)
def test_a_bad_file_is_refused(text, tmp_path):
    file = tmp_path / "queue.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"queue\.json"):
        read_queue(file)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="none.json"):
        read_queue(tmp_path / "none.json")


def test_the_job_of_slurm_asks_for_what_the_file_says():
    pytest.importorskip("dask_jobqueue")
    with queue_cluster("slurm", GPU_QUEUE) as made:
        lines = made.job_script().splitlines()
    asked = {line.removeprefix("#SBATCH ").strip() for line in lines if line.startswith("#SBATCH")}
    wanted = {"-J flare", "-p gpu", "-A me", "-n 1", "--cpus-per-task=8", "-t 02:00:00"}
    assert wanted | {"--gres=gpu:1"} <= asked
    assert any(line.startswith("--mem=15") for line in asked)  # 16 GB in units of 2 ** 30
    _check_worker(lines)


def test_the_job_of_pbs_asks_for_what_the_file_says():
    pytest.importorskip("dask_jobqueue")
    with queue_cluster("pbs", GPU_QUEUE) as made:
        lines = made.job_script().splitlines()
    asked = {line.removeprefix("#PBS ").strip() for line in lines if line.startswith("#PBS")}
    assert {"-N flare", "-q gpu", "-A me", "-l walltime=02:00:00"} <= asked
    assert "-l select=1:ncpus=8:mem=16GB" in asked
    _check_worker(lines)


def _check_worker(lines):
    assert "module load cuda" in lines
    (worker,) = (line for line in lines if "dask_worker" in line)
    assert lines.index("module load cuda") < lines.index(worker)
    assert re.search(r"tcp://\S+:\d+", worker)
    assert "--nthreads 1 " in worker
    safe = safe_python(shlex.quote(sys.executable))
    assert worker.startswith(f"{safe} -m distributed.cli.dask_worker ")
    assert "--resources GPU=1" in worker


def test_no_worker_of_a_queue_runs_a_file_of_its_folder(tmp_path):
    """Nor does a process that it starts; what PYTHONPATH names is found all the same."""
    trap, mine = tmp_path / "trap", tmp_path / "my modules"
    trap.mkdir()
    mine.mkdir()
    for name in ("runpy", "site", "os", "multiprocessing", "json", "own"):
        (trap / f"{name}.py").write_text("raise SystemExit(9)\n")
    (mine / "own.py").write_text(
        "import multiprocessing, sys\n"
        "if __name__ == '__main__':\n"
        "    import json\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    child = context.Process(target=print, args=('child',))\n"
        "    child.start(); child.join()\n"
        "    print(json.dumps([sys.argv, child.exitcode]))\n"
    )
    words = f"{safe_python(shlex.quote(sys.executable))} -m own tcp://x:1 --nthreads 1"
    path = os.pathsep.join([str(mine), "", "."])
    run = subprocess.run(
        ["sh", "-c", words], cwd=trap, env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert run.returncode == 0, run.stderr.decode()
    child, told = run.stdout.decode().split("\n")[:2]
    assert child == "child"
    assert json.loads(told) == [[str(mine / "own.py"), "tcp://x:1", "--nthreads", "1"], 0]
    assert subprocess.run([sys.executable, "-m", "own"], cwd=trap).returncode == 9


def test_nobody_at_the_address_is_told(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(module, "CONNECT_S", 0.5)
    with (
        pytest.raises(InputError, match="nobody answers"),
        connected(place_of("tcp://127.0.0.1:9")),
    ):
        pass


def test_the_file_for_kubernetes_is_whole():
    yaml = pytest.importorskip("yaml")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    spec = yaml.safe_load(block)["spec"]
    (worker,) = spec["worker"]["spec"]["containers"]
    (scheduler,) = spec["scheduler"]["spec"]["containers"]
    assert worker["image"] == scheduler["image"]
    assert worker["args"][-2:] == ["--nthreads", "1"]
    volumes = {volume["name"] for volume in spec["worker"]["spec"]["volumes"]}
    assert {mount["name"] for mount in worker["volumeMounts"]} == volumes
    named = {port["name"] for port in scheduler["ports"]}
    assert {port["targetPort"] for port in spec["scheduler"]["service"]["ports"]} == named


def test_what_workers_are_given_this_process_does_not_keep(workers):
    """Dask hands it on through the environment of whoever starts them."""
    for name in ("PYTHONSAFEPATH", "MALLOC_TRIM_THRESHOLD_"):
        assert None not in workers.run(os.getenv, name).values()
        assert name not in os.environ
